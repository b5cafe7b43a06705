"""The mixture's field as a velocity of maps: what it is fitted to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from running import wtflow

from wtflow_jax.geometry import empirical_velocity
from wtflow_jax.velocities.mixture import MixtureField

RNG = np.random.default_rng(0)
CENTRES = 4 * RNG.normal(size=(3, 6))
LABELS = RNG.integers(3, size=(30, 2, 4))
MAPS = jnp.asarray(CENTRES[LABELS] + 0.1 * RNG.normal(size=(30, 2, 4, 6)), jnp.float32)


def sorted_by(means):
    return means[np.argsort(means[:, 0])]


def test_its_components_are_the_clusters():
    params = MixtureField(components=3).init(jax.random.key(0), MAPS)
    np.testing.assert_allclose(sorted_by(params["parts"]["mean"]), sorted_by(CENTRES), atol=0.1)
    shares = np.bincount(LABELS.ravel()) / LABELS.size
    np.testing.assert_allclose(np.sort(np.exp(params["log_weights"])), np.sort(shares), atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("per_position", [False, True])
def test_on_the_way_its_field_is_nearly_that_of_the_vectors(per_position):
    """Where the noise is far above the clusters' spread."""
    velocity, t = MixtureField(components=3, per_position=per_position), jnp.float32(0.6)
    params = velocity.init(jax.random.key(0), MAPS)
    x = (1 - t) * MAPS[0] + t * jnp.asarray(RNG.normal(size=MAPS[0].shape), jnp.float32)
    found = velocity.velocity_fn()(params, t, x)
    for i, j in np.ndindex(2, 4):
        own = MAPS[:, i, j] if per_position else MAPS.reshape(-1, 6)
        np.testing.assert_allclose(found[i, j], empirical_velocity(own, t, x[i, j]), atol=0.1)


def test_more_components_than_vectors():
    params = MixtureField(components=500, shrinkage=1).init(jax.random.key(0), MAPS[:2])
    assert params["parts"]["mean"].shape == (16, 6)
    found = MixtureField().velocity_fn()(params, jnp.float32(0.2), MAPS[0])
    assert np.isfinite(found).all()


@pytest.mark.long
def test_fitting_and_predicting_by_it(small_model, tmp_path):
    good = small_model.parent / "good"
    flags = "--velocity", "mixture", "--out", tmp_path / "model", "--image-size", "64"
    assert wtflow("fit", good, *flags) == 0
    assert wtflow("predict", tmp_path / "model", good, "--out", tmp_path / "found") == 0
