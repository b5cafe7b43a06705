from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wtflow_jax.detector import detector, inference
from wtflow_jax.detector.config import Config, defaults, variant
from wtflow_jax.geometry.empirical import empirical_velocity
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.velocities import exact, patch

MAPS = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3, 4, 5)), jnp.float32)
KEY = jax.random.key(0)
T = jnp.float32(0.4)


def rows(x):
    return {tuple(row) for row in np.asarray(x).reshape(-1, x.shape[-1])}


def test_every_position_is_answered_from_one_bank():
    bank = exact.bank(MAPS, KEY)
    assert rows(bank) == rows(MAPS)
    v = exact.velocity()(bank, T, MAPS[1])
    expected = empirical_velocity(MAPS.reshape(-1, 5), T, MAPS[1, 2, 3])
    np.testing.assert_allclose(v[2, 3], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("radius", "window"), [(0, (slice(2, 3), slice(3, 4))), (1, (slice(0, 3), slice(1, 4)))]
)
def test_a_position_is_answered_from_its_neighbourhood(radius, window):
    """At the border the window is moved inwards."""
    bank = exact.bank(MAPS, KEY, neighbourhood=radius)
    v = exact.velocity(radius)(bank, T, MAPS[1])
    expected = empirical_velocity(MAPS[:, *window].reshape(-1, 5), T, MAPS[1, 2, 3])
    np.testing.assert_allclose(v[2, 3], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("coreset", [False, True])
def test_a_bank_keeps_some_of_the_patches(coreset):
    bank = exact.bank(MAPS, KEY, size=10, coreset=coreset)
    assert bank.shape == (10, 5)
    assert len(rows(bank)) == 10
    assert rows(bank) <= rows(MAPS)


def test_a_coreset_reaches_the_far_ends():
    """Two of 1,000 patches lie far off: a random tenth misses them, the coreset cannot."""
    x = np.random.default_rng(1).normal(size=(10, 10, 10, 3)).astype(np.float32)
    x[0, 0, 0], x[9, 9, 9] = 50, -50
    kept = exact.bank(jnp.asarray(x), KEY, size=10, coreset=True)
    assert {50.0, -50.0} <= set(np.asarray(kept)[:, 0].tolist())


def test_neighbourhoods_respect_the_size():
    assert exact.bank(MAPS, KEY, size=20, neighbourhood=1).shape == (2, 3, 4, 5)


def config(**changes):
    return Config(velocity="exact", wt="none", start=0.1, residual=True, steps_det=1, **changes)


def test_one_step_scores_the_denoising_residual():
    """x0 − E[x0 | x_T]: nothing on the data, the distance to the nearest patch off them."""
    fitted = detector.fit(config(), MAPS)
    good = inference.predict_cells(fitted, np.asarray(MAPS), config()).localization
    np.testing.assert_allclose(good, 1 - 1 / np.sqrt(2 * np.pi), atol=1e-3)
    far = np.asarray(MAPS[:1]) + 9.0
    assert (inference.predict_cells(fitted, far, config()).localization > 0.9).all()


def test_a_power_comes_before_the_map():
    x = jnp.abs(MAPS)
    rooted = config(power=0.5)
    fitted = detector.fit(rooted, x)
    plain = detector.fit(config(), jnp.sqrt(x))
    np.testing.assert_allclose(detector.apply_wt(fitted, x), detector.apply_wt(plain, jnp.sqrt(x)))
    cells = [
        inference.predict_cells(fitted, np.asarray(x) + 1, rooted).localization,
        inference.predict_cells(plain, np.sqrt(np.asarray(x) + 1), config()).localization,
    ]
    np.testing.assert_allclose(*cells, rtol=1e-4)


def test_a_scale_moves_the_start_and_nothing_else():
    x = jnp.abs(MAPS)
    asked = [replace(config(scale=s), wt="layer_norm") for s in (1.0, 2.0)]
    plain, twice = (detector.fit(one, x) for one in asked)
    x0 = detector.apply_wt(twice, x)
    np.testing.assert_allclose(x0, 2 * detector.apply_wt(plain, x), rtol=1e-6)
    # Lemma 5, and the patches of the exact field lie where the maps start.
    norms = np.linalg.norm(np.asarray(x0).reshape(len(x0), -1), axis=1)
    np.testing.assert_allclose(norms, 2 * np.sqrt(x0[0].size), rtol=1e-3)
    unseen = np.random.default_rng(1).random(x.shape, np.float32)
    scores = [
        inference.predict_cells(fitted, unseen, one).localization
        for fitted, one in zip((plain, twice), asked, strict=True)
    ]
    assert np.abs(scores[0] - scores[1]).max() > 1e-4


def test_log_density_scores_half_the_square_of_the_residual():
    """From the nearest of two patches, far apart: the rest of their mixture is nothing."""
    x = np.zeros((2, 1, 1, 4), np.float32)
    x[1] = 100
    asked = config(score="log_density")
    fitted = detector.fit(asked, jnp.asarray(x))
    cells = inference.predict_cells(fitted, x + 3, asked).localization
    # x0 − E[x0 | x_T] = 3 in each channel; x_T is (1 − T)·x0.
    np.testing.assert_allclose(cells, np.full((2, 1, 1), 4.5), rtol=1e-3)


def test_the_exact_field_wants_a_gaussian():
    with pytest.raises(WTFlowError, match="no closed form"):
        config(target="sphere").check()


def test_the_patch_network_sees_one_position():
    velocity_fn = patch.velocity(16)
    params = patch.init(KEY, (3, 4, 5), 16)
    # Its last layer starts at zero.
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    v = velocity_fn(params, T, MAPS[0])
    changed = velocity_fn(params, T, MAPS[0].at[1, 2].add(1.0))
    different = np.any(np.asarray(v != changed), axis=-1)
    assert different[1, 2]
    assert different.sum() == 1


def test_defaults_follow_the_velocity():
    whitened = defaults(Config(velocity="exact", wt="whiten"))
    assert (whitened.start, whitened.residual, whitened.steps_det) == (0.05, True, 1)
    assert defaults(Config()).start == 0


def test_a_variant_keeps_what_was_asked_for():
    asked = replace(defaults(Config(velocity="exact", wt="whiten")), alpha=0.3)
    other = variant(asked, wt="layer_norm", velocity="patch", seed=2)
    assert (other.wt, other.velocity, other.seed, other.alpha) == ("layer_norm", "patch", 2, 0.3)
    assert (other.start, other.residual, other.epochs) == (0.3, False, 20)
    # Table IV: the position embedding is of none and batch_norm.
    assert variant(defaults(Config(preset="paper")), wt="none").position


def test_fine_roots_only_rectified_features():
    resnet = defaults(Config(preset="fine", backbone="resnet18"))
    assert (resnet.power, resnet.layer[0], resnet.dense) == (0.5, "layer1", True)
    lite = defaults(Config(preset="fine"))
    assert (lite.power, lite.layer[0]) == (1.0, "block2")
