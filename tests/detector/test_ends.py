"""Extreme features and flags: a correct result, or one error line."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from raising import fails

import wtflow_jax as wtflow
from wtflow_jax.app.estimator import WTFlow
from wtflow_jax.detector import detector, route
from wtflow_jax.detector.config import configure
from wtflow_jax.detector.model import load
from wtflow_jax.flow import scores
from wtflow_jax.flow.maps import MAPS

RNG = np.random.default_rng(0)
GOOD = np.abs(RNG.normal(1, 1, (5, 4, 4, 3))).astype(np.float32)
SAME = np.full(GOOD.shape, 7, np.float32)
DEGENERATE = {
    "all the same": SAME,
    "the same in a channel": np.broadcast_to(np.float32([1, -2, 1e4]), GOOD.shape),
    "the same but one": np.concatenate([SAME[:4], GOOD[:1]]),
    "one position": GOOD[:, :1, :1],
    "one channel": GOOD[..., :1],
    "one number": GOOD[:1, :1, :1, :1],
}


def scored(x, **flags):
    """Fit on features and score them, which raises where a score is not finite."""
    asked = {"wt": "layer_norm", "velocity": "exact", "width": 8, "epochs": 1, "steps_det": 1}
    config = configure(**asked | flags)
    config.check()
    fitted = detector.fit(config, jnp.asarray(x))
    where = scores.upsampling(x.shape[1:3], x.shape[1:3], 1)
    return route.predict(fitted, np.concatenate([x, 2 * x]), where)


@pytest.mark.long
@pytest.mark.parametrize(
    "flags",
    [
        {"scale": 1e-12},
        {"scale": 1e12, "score": "log_density"},
        {"power": 1e-3},
        {"power": 10.0},
        {"start": 1e-4, "top_fraction": 1e-30},
        {"wt": "whiten", "alpha": 1e-6, "rank": 10**12},
        {"velocity": "patch", "scale": 1e-12},
        {"velocity": "patch", "scale": 1e12, "score": "log_density"},
        {"velocity": "patch", "start": 0.9999999, "learning_rate": 1e-30, "decay_at": (0.1,) * 9},
    ],
    ids=str,
)
def test_values_at_the_ends_of_their_ranges_work(flags):
    for x in (GOOD, np.float32(1e-20) * GOOD):
        assert scored(x, **flags).scores.min() >= 0


def test_at_the_last_start_the_residual_is_to_the_mean():
    x = GOOD - GOOD.mean()
    found = scored(x, wt="none", start=0.9999999).maps[: len(x)]
    expected = scores.cell_scores(jnp.asarray(x - x.mean((0, 1, 2))))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("wt", MAPS)
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_features_are_mapped_fitted_and_scored(name, wt):
    x = DEGENERATE[name]
    if wt == "whiten" and len(x) == 1:
        with fails("whiten: 1 training sample; give at least 2, or another WT map"):
            scored(x, wt=wt)
        return
    found = scored(x, wt=wt, velocity="exact")
    # The data themselves are not anomalous.
    np.testing.assert_allclose(found.maps[: len(x)], 1 - 1 / np.sqrt(2 * np.pi), atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("velocity", "name"),
    [
        ("patch", "the same in a channel"),
        pytest.param("unet", "one number", marks=pytest.mark.long),
    ],
)
def test_networks_train_on_degenerate_features(name, velocity):
    scored(DEGENERATE[name], wt="batch_norm", velocity=velocity)


def test_features_beyond_float32_are_told_of_in_one_line():
    with fails("scores are NaN or infinite", "--scale"):
        scored(np.float32(1e25) * GOOD, wt="none")


def test_an_image_without_a_score_is_not_called_good(small_model):
    """NaN compares above no threshold."""
    whole = load(small_model)
    stats = jax.tree.map(lambda leaf: leaf * jnp.nan, whole.detector.stats)
    damaged = replace(whole, detector=whole.detector._replace(stats=stats))
    (found,) = damaged.results([small_model.parent / "good" / "0.png"])
    assert found.error.endswith("0.png: its scores are NaN or infinite; fit the model again")
    assert found.defective is None
    with fails("its scores are NaN or infinite"):
        damaged.predict(small_model.parent / "good" / "0.png")


def test_no_model_is_made_of_scores_that_are_no_numbers(small_model, monkeypatch):
    fitted = load(small_model).detector
    broken = fitted._replace(stats=jax.tree.map(lambda leaf: leaf * jnp.nan, fitted.stats))
    monkeypatch.setattr(detector, "fit", lambda *given: broken)
    with fails("scores are NaN or infinite"):
        wtflow.fit(small_model.parent / "good", image_size="64")


def test_an_estimator_calls_no_number_normal():
    x = RNG.normal(size=(20, 3)).astype(np.float32)
    fitted = WTFlow(wt="none", random_state=0).fit(x)
    with fails("scores are NaN or infinite"):
        fitted.predict(np.full((1, 3), 1e25))
