"""AUROC, average precision and F1 max against scikit-learn and definitions; the table."""

import inspect

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pixels import pixels
from sklearn.metrics import average_precision_score, roc_auc_score

from wtflow_jax import metrics
from wtflow_jax.metrics import METRICS, Metric, Region, ranking, summary


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decimals", [0, 2, 12])
def test_agree_with_scikit_learn_on_pixels(decimals, dtype, monkeypatch):
    # Many chunks.
    monkeypatch.setattr(ranking, "CHUNK", 1)
    scores, masks = pixels(decimals, dtype)
    flat = masks.ravel(), scores.ravel()
    area, precision = roc_auc_score(*flat), average_precision_score(*flat)
    assert metrics.auroc(scores, masks) == pytest.approx(area, abs=1e-9)
    together = metrics.measure("pixel", scores, masks)
    assert together["pixel_auroc"] == pytest.approx(area, abs=1e-9)
    assert together["pixel_ap"] == pytest.approx(precision, abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_agree_with_definitions(pairs):
    scores = np.array([score for score, _ in pairs], np.float32)
    labels = np.array([label for _, label in pairs])
    assume(labels.any() and not labels.all())
    difference = scores[labels][:, None] - scores[~labels][None]
    expected = np.mean((difference > 0) + 0.5 * (difference == 0))
    assert metrics.auroc(scores, labels) == pytest.approx(expected, abs=1e-12)
    found = metrics.measure("image", scores, labels)
    expected = average_precision_score(labels, scores)
    assert found["image_ap"] == pytest.approx(expected, abs=1e-12)

    def f1(threshold):
        found = scores >= threshold
        return 2 * np.sum(found & labels) / (np.sum(found) + np.sum(labels))

    assert found["image_f1"] == pytest.approx(max(map(f1, np.unique(scores))), abs=1e-12)


def test_constant_scores():
    labels = np.array([True, False, False, True, False])
    scores = np.full(5, 0.7, np.float32)
    found = metrics.measure("image", scores, labels)
    assert found["image_auroc"] == metrics.auroc(scores, labels) == 0.5
    assert found["image_ap"] == pytest.approx(0.4)
    assert found["image_f1"] == pytest.approx(4 / 7)
    # The curve is the diagonal: 0.3²/2, over 0.3.
    masks = labels.reshape(1, 1, 5)
    assert metrics.aupro(scores.reshape(1, 1, 5), masks) == pytest.approx(0.15)
    regions = [Region(0, masks[0], 1.0)]
    # Two pixels for one: the diagonal up to the limit, though both count only once.
    assert metrics.spro(scores.reshape(1, 1, 5), regions) == pytest.approx(0.025)


@pytest.mark.parametrize(
    ("scores", "labels", "reason"),
    [
        ([1, 2, 3], [False] * 3, "3 good and 0 defective"),
        ([1, 2, 3], [True] * 3, "0 good and 3 defective"),
        ([], [], "0 good and 0 defective"),
        ([1, np.nan, 3], [True, True, False], "a score is NaN"),
        ([1, np.nan, 3], [True, False, False], "a score is NaN"),
    ],
)
def test_undefined_is_none_and_says_why(scores, labels, reason):
    given = np.array(scores, np.float32), np.array(labels, bool)
    with pytest.warns(metrics.UndefinedMetric, match=f"^AUROC is undefined: {reason}$"):
        assert metrics.auroc(*given) is None
    with pytest.warns(metrics.UndefinedMetric) as warned:
        assert set(metrics.measure("image", *given).values()) == {None}
    titles = [f"image {name}" for name in ("AUROC", "AP", "F1-max")]
    said = [str(warning.message) for warning in warned]
    assert said == [f"{title} is undefined: {reason}" for title in titles]


def test_what_would_give_a_wrong_value_is_refused():
    # Without the types, which are checked in tests alone.
    scores, masks = pixels(1, np.float32)
    rank = inspect.unwrap(ranking.rank)
    with pytest.raises(ValueError, match="uint8"):
        rank([], scores, masks.astype(np.uint8))
    with pytest.raises(ValueError, match=r"\(10, 170, 120\)"):
        rank([], scores, masks.transpose(0, 2, 1))


def test_scores_at_the_ends():
    """Infinity is ranked as the highest; NaN has no rank, and that is said."""
    labels = np.array([False, True, False, True])
    found = np.array([1.0, np.inf, -np.inf, 1.0], np.float32)
    assert metrics.auroc(found, labels) == metrics.auroc(np.array([1.0, 9, -9, 1]), labels) == 0.875
    found[2] = np.nan
    masks = labels.reshape(1, 2, 2)
    for call in (
        lambda: metrics.auroc(found, labels),
        lambda: metrics.measure("pixel", found.reshape(1, 2, 2), masks)["pixel_aupro"],
        lambda: metrics.spro(found.reshape(1, 2, 2), [Region(0, masks[0], 1.0)]),
    ):
        with pytest.warns(metrics.UndefinedMetric, match="a score is NaN"):
            assert call() is None


def test_one_pass_gives_what_each_gives_alone():
    scores, masks = pixels(1, np.float32)
    found = metrics.measure("pixel", scores, masks)
    assert list(found) == ["pixel_auroc", "pixel_ap", "pixel_f1", "pixel_aupro", "pixel_aupimo"]
    assert found["pixel_auroc"] == metrics.auroc(scores, masks)
    assert found["pixel_aupro"] == metrics.aupro(scores, masks)
    # Regions labelled once serve other scores, and views in another order.
    regions = metrics.label_regions(masks)
    assert metrics.measure("pixel", scores, masks, regions) == found
    assert metrics.measure("pixel", -scores, masks, regions) == metrics.measure(
        "pixel", -scores, masks
    )
    turned = metrics.measure("pixel", scores.transpose(0, 2, 1), masks.transpose(0, 2, 1))
    assert turned == pytest.approx(found, abs=1e-12)
    # Images: a score and a label each.
    images = scores.max((1, 2)), masks.any((1, 2))
    found = metrics.measure("image", *images)
    assert list(found) == ["image_auroc", "image_ap", "image_f1"]
    assert found["image_auroc"] == metrics.auroc(*images)
    with pytest.warns(metrics.UndefinedMetric, match="image A.* is undefined: a score is NaN"):
        found = metrics.measure("image", np.where(images[1], images[0], np.nan), images[1])
    assert set(found.values()) == {None}


def test_a_new_metric_is_an_entry(monkeypatch):
    """The false-positive rate where all defects are found."""
    scores, masks = pixels(1, np.float32)
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS))
    METRICS.add("pixel_fpr")(Metric("pixel FPR", "pixel", lambda r: 1 - r.below[0] / r.good))
    found = metrics.measure("pixel", scores, masks)
    assert found["pixel_fpr"] == pytest.approx((scores >= scores[masks].min())[~masks].mean())
    assert summary.titles()["pixel_fpr"] == "pixel FPR"
