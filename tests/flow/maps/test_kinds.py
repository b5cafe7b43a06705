"""Kinds of images: found where positions carry no information, otherwise not."""

import jax.numpy as jnp
import numpy as np
import pytest

from wtflow_jax.flow.maps.kinds import ByKind, Kinds, _kinds
from wtflow_jax.flow.maps.whitening import Whiten, Whitening

ASKED = ByKind(Whiten(alpha=0, rank=0))
WHITE = ByKind(Whiten(alpha=0, rank=64))
C = 6


def textures(kinds, each=20, seed=0):
    """Maps (n, 4, 4, C) whose every cell has the mean and the covariance of its image's kind."""
    rng = np.random.default_rng(seed)
    # Turned otherwise, with variances from 0.25 to 4: none so small that the ridge counts.
    turns = np.linalg.qr(np.random.default_rng(9).normal(size=(kinds, C, C)))[0]
    roots = np.linspace(0.5, 2, C)[:, None] * turns
    means = 3 * np.random.default_rng(8).normal(size=(kinds, C))
    of = np.arange(kinds * each) % kinds
    noise = rng.normal(size=(len(of), 4, 4, C))
    maps = means[of][:, None, None] + np.einsum("nhwc,ncd->nhwd", noise, roots[of])
    return jnp.asarray(maps, jnp.float32), of


@pytest.mark.parametrize("kinds", [2, 3])
def test_kinds_are_found_and_each_is_white(kinds):
    maps, of = textures(kinds)
    stats = WHITE.fit(maps)
    assert isinstance(stats, Kinds)
    assert WHITE.choice(stats) == f"{kinds} kinds of images, all positions as one"
    unseen, of = textures(kinds, seed=1)
    x0 = np.asarray(WHITE.apply(stats, unseen), np.float64)
    for kind in range(kinds):
        cells = x0[of == kind].reshape(-1, C)
        np.testing.assert_allclose(np.cov(cells.T), np.eye(C), atol=0.35)
    assert np.square(x0).mean() == pytest.approx(1, abs=0.1)


def test_rank_0_leaves_out_the_principal_directions_of_each_kind():
    maps, _ = textures(2)
    stats, white = ASKED.fit(maps), WHITE.fit(maps)
    for kind in (0, 1):
        cells = np.asarray(maps)[np.asarray(_kinds(stats, maps)) == kind].reshape(-1, C)
        axes = np.linalg.eigh(np.cov(cells.T))[1]
        ratio = [axes.T @ s.shared[kind] @ axes for s in (stats, white)]
        parts = np.diag(ratio[0]) / np.diag(ratio[1])
        assert parts[-1] == pytest.approx(0.01, abs=0.02)
        assert parts[0] > 0.7
    unseen = ASKED.apply(stats, textures(2, seed=1)[0])
    assert float(jnp.square(unseen).mean()) == pytest.approx(1, abs=0.1)


def test_kinds_that_differ_more_than_positions_win():
    """Statistics of each position are likelier than one covariance, but kinds still more so."""
    rng = np.random.default_rng(3)
    maps = np.asarray(textures(3)[0]) + 1.0 * rng.normal(size=(4, 4, C))
    alone = ASKED.wt.fit(jnp.asarray(maps))
    assert float(alone.evidence) > 0
    assert isinstance(ASKED.fit(jnp.asarray(maps)), Kinds)


def test_images_of_one_kind_are_one():
    stats = ASKED.fit(textures(1, 60)[0])
    assert isinstance(stats, Whitening)
    assert "all positions as one" in ASKED.choice(stats)


def test_where_positions_mean_something_nothing_changes():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(60, 4, 4, C)) * 0.1 + 5 * rng.normal(size=(4, 4, C))
    maps = jnp.asarray(maps, jnp.float32)
    stats, alone = ASKED.fit(maps), ASKED.wt.fit(maps)
    assert isinstance(stats, Whitening)
    for found, expected in zip(stats, alone, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(ASKED.apply(stats, maps), ASKED.wt.apply(alone, maps))


def test_an_image_is_mapped_alike_whatever_is_beside_it():
    maps, _ = textures(3)
    stats = ASKED.fit(maps)
    whole = ASKED.apply(stats, maps)
    one = jnp.concatenate([ASKED.apply(stats, maps[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(one, whole[:5], rtol=1e-5, atol=1e-5)


def test_fewer_images_keep_kinds_and_scales():
    maps, of = textures(3)
    stats = ASKED.fit(maps)
    fewer = ASKED.fit_like(stats, maps[:40])
    np.testing.assert_array_equal(fewer.centres, stats.centres)
    np.testing.assert_array_equal(fewer.scale, stats.scale)
    assert not np.allclose(fewer.shared, stats.shared, rtol=1e-3)
    # A kind that becomes empty.
    none = ASKED.fit_like(stats, maps[of != 0])
    assert all(bool(jnp.isfinite(part).all()) for part in none)


def test_statistics_come_back_from_arrays():
    for maps in (textures(2)[0], textures(1, 60)[0]):
        stats = ASKED.fit(maps)
        again = ASKED.restore({k: np.asarray(v) for k, v in stats._asdict().items()})
        assert type(again) is type(stats)
        np.testing.assert_array_equal(ASKED.apply(again, maps), ASKED.apply(stats, maps))


def test_too_few_for_two_kinds_are_one():
    assert isinstance(ASKED.fit(textures(2, 9)[0]), Whitening)


def test_images_that_are_all_alike_are_one_kind(recwarn):
    maps = jnp.broadcast_to(textures(1, 1)[0], (24, 4, 4, C))
    stats = ASKED.fit(maps)
    assert isinstance(stats, Whitening)
    assert bool(jnp.isfinite(ASKED.apply(stats, maps)).all())
    assert not recwarn.list
