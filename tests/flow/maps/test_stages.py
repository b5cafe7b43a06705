"""A map a stage: channels split, mapped apart, joined, and restored from arrays by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wtflow_jax.detector import model
from wtflow_jax.flow.maps import MAPS, whitening
from wtflow_jax.flow.maps.stages import ByStage


@pytest.fixture
def features():
    """Twelve channels of 40 maps; each position has a mean of its own in the last seven."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3, 4, 12)) * np.linspace(0.5, 3, 12)
    x[..., 5:] += 5 * rng.normal(size=(3, 4, 7))
    return jnp.asarray(x, jnp.float32)


@pytest.mark.parametrize("name", list(MAPS))
def test_each_stage_has_the_map_of_its_own_channels(name, features):
    one = MAPS.make(name)
    both = ByStage(one, (5, 7))
    stats = both.fit(features)
    wanted = [one.apply(one.fit(part), part) for part in (features[..., :5], features[..., 5:])]
    found = both.apply(stats, features)
    np.testing.assert_allclose(found, jnp.concatenate(wanted, axis=-1), rtol=1e-6)
    # On the way through a file named tuples become dicts.
    arrays = model.nested(model.flatten({"stats": stats})).get("stats", {})
    again = both.restore(jax.tree.map(jnp.asarray, arrays))
    np.testing.assert_array_equal(both.apply(again, features), found)


def test_positions_are_found_to_differ_stage_by_stage(features):
    both = ByStage(whitening.Whiten(alpha=0, rank=0), (5, 7))
    stats = both.fit(features)
    alphas = [float(stats[f"stage{i}"].rest ** -2) for i in (0, 1)]
    assert pytest.approx(alphas) == [whitening.TOGETHER, whitening.APART]
    first, second = both.choice(stats).split("; ")
    assert first.startswith("stage 1, all positions as one (-")
    assert second.startswith("stage 2, each position by itself (+")
    assert ByStage(whitening.Whiten(), (5, 7)).choice(both.fit(features)) == ""


def test_fewer_samples_keep_what_was_chosen_of_all(features):
    both = ByStage(whitening.Whiten(alpha=0, rank=0), (5, 7))
    stats = both.fit(features)
    fewer = both.fit_like(stats, features[:10])
    for name in stats:
        for kept in ("rest", "scale", "evidence"):
            np.testing.assert_allclose(getattr(fewer[name], kept), getattr(stats[name], kept))
        assert not np.allclose(fewer[name].mean, stats[name].mean)
    # As many as samples or channels.
    assert [fewer[name].basis.shape[1] for name in stats] == [5, 7]
