"""The outlier detector with scikit-learn's interface."""

import pickle

import numpy as np
import pytest
import trees
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from wtflow_jax.app.commands import Fit
from wtflow_jax.app.estimator import WTFlow
from wtflow_jax.app.fit import fit
from wtflow_jax.detector.config import Decision

pytestmark = pytest.mark.long


NOVELTY = (
    "it knows the samples it was fitted on, and its offset is from scores of samples left out: of "
    "these blobs it calls none an outlier, which the check expects"
)


@pytest.mark.long
@parametrize_with_checks(
    [WTFlow(random_state=0)],
    expected_failed_checks=lambda estimator: {
        "check_outliers_fit_predict": NOVELTY,
        "check_outliers_train": NOVELTY,
    },
)
def test_scikit_learn_agrees(estimator, check):
    check(estimator)


@pytest.fixture
def maps():
    """Forty normal feature maps, and ten with one cell shifted."""
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(50, 4, 3, 8)).astype(np.float32)
    normal[40:, 2, 1] += 4
    return normal[:40], normal


def test_false_alarms_are_as_rare_everywhere():
    assert Fit.false_alarms == WTFlow().false_alarms == Decision().false_alarms


def test_feature_maps(maps):
    normal, both = maps
    fitted = WTFlow(random_state=0, false_alarms=0.05).fit(normal)
    assert fitted.shape_ == (4, 3, 8)
    labels = np.r_[np.ones(40), -np.ones(10)]
    np.testing.assert_array_equal(fitted.predict(both)[40:], -1)
    assert roc_auc_score(labels, fitted.decision_function(both)) == 1
    assert fitted.rate_ == pytest.approx(2 / 41)
    # The shifted cell has the highest score.
    highest = fitted.anomaly_maps(both[40:]).reshape(10, -1).argmax(axis=1)
    np.testing.assert_array_equal(highest, 2 * 3 + 1)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.score_samples(both), fitted.score_samples(both))
    with pytest.raises(ValueError, match=r"shape \(4, 4, 8\), fit saw \(4, 3, 8\)"):
        fitted.predict(np.zeros((2, 4, 4, 8), np.float32))


@pytest.mark.long
def test_a_network_is_trained_too(maps):
    normal, both = maps
    fitted = WTFlow(velocity="patch", wt="none", width=8, epochs=2, random_state=0).fit(normal)
    assert np.isfinite(fitted.score_samples(both)).all()


def test_pipelines_and_model_selection():
    rng = np.random.default_rng(0)
    x = np.r_[rng.normal(size=(60, 5)), rng.normal(size=(20, 5)) + 6]
    labels = np.r_[np.ones(60), -np.ones(20)]
    search = GridSearchCV(
        make_pipeline(StandardScaler(), WTFlow(random_state=0)),
        {"wtflow__wt": ["none", "whiten"]},
        scoring="roc_auc",
        cv=[(np.arange(40), np.arange(40, 80))],
        error_score="raise",
        refit=False,
    )
    search.fit(x, labels)
    assert search.best_score_ == 1


def test_images_are_scored_as_by_wtflow():
    rng = np.random.default_rng(0)
    images = np.stack([trees.picture(0)] * 12).astype(int)
    images = np.clip(images + rng.integers(-12, 13, images.shape), 0, 255).astype(np.uint8)
    estimator = WTFlow(random_state=0).fit(images)
    choices = estimator.config_.flags() | {"image_size": "64x64"}
    model = fit(images, **choices)
    assert estimator.offset_ == -model.threshold.value
    found = model.predict(images)
    np.testing.assert_allclose(
        estimator.score_samples(images), [-one.score for one in found], atol=2e-6
    )
    maps = estimator.anomaly_maps(images)
    np.testing.assert_allclose(maps, [one.map for one in found], atol=2e-5)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((4, 30, 64, 3), np.uint8), "images of 30x64x3; give RGB, sides multiples of 32"),
        (np.zeros((4, 5, 6)), "has 3 axes; give"),
        (np.zeros((4, 64, 64, 3)), "floating-point images; give them as uint8"),
    ],
)
def test_what_cannot_be_used_is_said(x, words):
    with pytest.raises(ValueError, match=words):
        WTFlow().fit(x)


def test_numbers_far_from_zero_are_rounded_to_nothing(maps):
    """float32 has 24 bits: beside 1e9 it has steps of 64."""
    table = np.random.default_rng(0).normal(size=(80, 5))
    for offset, dtype in ((1e9, float), (-1e7, float), (-1e7, np.float32)):
        moved = (table + offset).astype(dtype)
        with pytest.raises(ValueError, match=r"^X\[\.\.\., 0\] has values about .*e\+0[79] that"):
            WTFlow(random_state=0).fit(moved)
    with pytest.raises(ValueError, match=r"^X has 80 samples that are all the same"):
        WTFlow(random_state=0).fit((table + 1e9).astype(np.float32))
    numbers = np.rint(1000 * table).astype(int) + 10**12
    with pytest.raises(ValueError, match="which float32 cannot resolve: subtract their mean"):
        WTFlow(random_state=0).fit(numbers)
    with pytest.raises(ValueError, match=r"^X has values up to 1e\+300, too large for float32"):
        WTFlow(random_state=0).fit(np.where(table > 2, 1e300, table))
    with pytest.raises(ValueError, match=r"subtract their mean first"):
        WTFlow(random_state=0).fit(maps[0].astype(float) + 1e9)
    # A constant column has nothing to lose, and after a scaler there is no offset.
    table[:, 1] = 1e9 + 0.3
    fitted = WTFlow(random_state=0).fit(table)
    scaled = make_pipeline(StandardScaler(), WTFlow(random_state=0)).fit(table + 1e9)
    assert (fitted.predict(table[:1] + 9), scaled.predict(table[:1] + 1e9 + 9)) == (-1, -1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, int, object, "list", "frame"])
def test_tables_of_other_kinds(dtype):
    table = np.rint(8 * np.random.default_rng(0).normal(size=(30, 4)))
    wanted = WTFlow(random_state=0).fit(table).score_samples(table)
    if dtype == "frame":
        pandas = pytest.importorskip("pandas")
        given = pandas.DataFrame(table, columns=[*"abcd"])
    else:
        given = table.tolist() if dtype == "list" else table.astype(dtype)
    found = WTFlow(random_state=0).fit(given).score_samples(given)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("x", [np.full((30, 4), np.nan), np.full((30, 4), np.inf), np.zeros(30)])
def test_tables_without_numbers(x):
    with pytest.raises(ValueError, match=r"NaN|infinity|axes|1D array"):
        WTFlow().fit(x)
