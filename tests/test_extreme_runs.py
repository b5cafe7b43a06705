"""Flags and features at their ends: a right result, or one line that says what is wrong."""

import csv
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees
from raising import fails
from running import wtflow

from wtflow_jax.app.estimator import WTFlow
from wtflow_jax.detector import detector, inference, model
from wtflow_jax.detector.config import Config, defaults
from wtflow_jax.flow import scores, transport, whitening
from wtflow_jax.support.errors import WTFlowError

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
    names = {"wt": "layer_norm", "velocity": "exact"} | flags
    usual = defaults(Config(wt=names["wt"], velocity=names["velocity"]))
    config = replace(usual, **{"width": 8, "epochs": 1, "steps_det": 1} | names)
    config.check()
    fitted = detector.fit(config, jnp.asarray(x))
    where = scores.upsampling(x.shape[1:3], x.shape[1:3], 1)
    return inference.predict(fitted, np.concatenate([x, 2 * x]), config, where)


@pytest.mark.parametrize(
    "flags",
    [
        {"scale": 1e30},
        {"scale": 1e-30},
        {"scale": float("nan")},
        {"power": 1e-30},
        {"power": 30.0},
        {"alpha": 1e-30},
        {"start": 0.99999999},
        {"start": 1e-5},
        {"learning_rate": 1e-45},
        {"learning_rate": 1e31},
        {"weight_decay": float("inf")},
    ],
    ids=str,
)
def test_values_that_float32_cannot_hold_are_refused(flags):
    (name,) = flags
    with fails(f"--{name.replace('_', '-')} .*: give .*at least .*(float32|rounding)"):
        Config(**flags).check()


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


def test_the_smallest_alpha_still_whitens():
    x = RNG.normal(size=(400, 1, 2, 4)) @ RNG.normal(size=(4, 4))
    stats = whitening.fit(jnp.asarray(x, jnp.float32), alpha=1e-6)
    x0 = np.asarray(whitening.apply(stats, jnp.asarray(x, jnp.float32)))[:, 0] / stats.scale
    for position in (0, 1):
        np.testing.assert_allclose(np.cov(x0[:, position].T), np.eye(4), atol=0.01)


@pytest.mark.parametrize("wt", transport.MAPS)
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


@pytest.mark.parametrize(
    ("velocity", "name"), [("patch", "the same in a channel"), ("unet", "one number")]
)
def test_networks_train_on_degenerate_features(name, velocity):
    scored(DEGENERATE[name], wt="batch_norm", velocity=velocity)


def test_features_beyond_float32_are_told_of_in_one_line():
    with fails("scores are NaN or infinite", "--scale"):
        scored(np.float32(1e25) * GOOD, wt="none")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    place = tmp_path_factory.mktemp("fitted")
    for i in range(4):
        pixels = trees.picture(0).astype(int) + np.random.default_rng(i).integers(
            -9, 9, (64, 64, 1)
        )
        trees.write(place / "good" / f"{i}.png", np.clip(pixels, 0, 255).astype(np.uint8))
    arguments = "fit", place / "good", "--out", place / "model", "--image-size", "64"
    assert wtflow(*arguments) == 0
    return place


def test_an_image_without_a_score_is_not_called_good(fitted, tmp_path, monkeypatch):
    """NaN is above no threshold."""
    whole = model.load

    def damaged(path):
        found = whole(path)
        params = jax.tree.map(lambda leaf: leaf * jnp.nan, found.detector.params)
        return found._replace(detector=found.detector._replace(params=params))

    monkeypatch.setattr(model, "load", damaged)
    arguments = "predict", fitted / "model", fitted / "good", "--out", tmp_path / "found"
    assert wtflow(*arguments) == 3
    with (tmp_path / "found" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["decision"] for row in rows} == {""}
    assert all("scores are NaN or infinite" in row["error"] for row in rows)


def test_no_model_is_made_of_scores_that_are_no_numbers(fitted, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(detector, "fit", lambda *given: _broken(fitted))
    arguments = "fit", fitted / "good", "--out", tmp_path / "model", "--image-size", "64"
    assert wtflow(*arguments) == 1
    assert "error: scores are NaN or infinite" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def _broken(place):
    found = model.load(place / "model").detector
    return found._replace(params=found.params * jnp.nan)


def test_an_estimator_calls_no_number_normal():
    x = RNG.normal(size=(20, 3)).astype(np.float32)
    fitted = WTFlow(wt="none", random_state=0).fit(x)
    with pytest.raises(WTFlowError, match="scores are NaN or infinite"):
        fitted.predict(np.full((1, 3), 1e25))
