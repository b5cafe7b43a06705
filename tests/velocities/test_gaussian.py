"""The Gaussian field as a velocity of maps: what it is fitted to, and what its scores are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from running import wtflow

from wtflow_jax.detector import detector, route
from wtflow_jax.detector.config import configure
from wtflow_jax.flow.maps import whitening
from wtflow_jax.velocities.gaussian import GaussianField

RNG = np.random.default_rng(0)
MAPS = 2 + RNG.normal(size=(30, 3, 4, 6)).astype(np.float32) @ RNG.normal(size=(6, 6))


def test_its_scores_are_those_of_the_whitening():
    """Without a map the flow whitens: at its end each position has Mahalanobis' length."""
    maps = jnp.asarray(MAPS / 4, jnp.float32)
    asked = {"shrinkage": 0.2, "directions": 4, "solver": "tsit5", "score": "log_density"}
    config = configure(wt="none", velocity="gaussian", steps_det=40, steps_loc=40, **asked)
    found = route.cells(detector.fit(config, maps), np.asarray(maps))
    stats = whitening.Whiten(alpha=0.2, rank=4).fit(maps)
    squares = jnp.mean(jnp.square(whitening.apply(stats, maps)), axis=-1)
    np.testing.assert_allclose(found.detection, squares / 2, rtol=1e-3)


def test_its_law_has_the_shape_of_the_maps():
    law = GaussianField(directions=5).init(jax.random.key(0), jnp.asarray(MAPS, jnp.float32))
    assert law["mean"].shape == (12, 6)
    assert law["basis"].shape == (12, 5, 6)


@pytest.mark.slow
def test_fitting_and_predicting_by_it(small_model, tmp_path):
    good = small_model.parent / "good"
    flags = "--velocity", "gaussian", "--out", tmp_path / "model", "--image-size", "64"
    assert wtflow("fit", good, *flags) == 0
    assert wtflow("predict", tmp_path / "model", good, "--out", tmp_path / "found") == 0
