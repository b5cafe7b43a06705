"""Curves have the areas of the metrics."""

import numpy as np
import pytest

from wtflow_jax import metrics


def area(line, limit=1.0):
    """The area under a line of corners, up to an x."""
    x, y = np.asarray(line, float).T
    inside = x <= limit
    at = np.interp(limit, x, y)
    return np.trapezoid(np.r_[y[inside], at], np.r_[x[inside], limit])


@pytest.mark.parametrize("levels", [1, 3, 10, 100_000])
def test_curves_have_the_areas_of_the_metrics(levels):
    rng = np.random.default_rng(levels)
    scores = rng.integers(0, levels, (6, 20, 20)).astype(np.float32)
    masks = np.zeros(scores.shape, bool)
    masks[0, 2:12, 3:15] = masks[1, 4:6, 4:6] = masks[2, 9, 9] = True
    scores[masks] += levels // 3
    found = metrics.curves(scores, masks, metrics.label_regions(masks), points=10**6)
    assert area(found.roc) == pytest.approx(metrics.auroc(scores, masks))
    assert area(found.overlap, 0.3) / 0.3 == pytest.approx(metrics.aupro(scores, masks))
    precision = area(found.precision_recall)
    assert precision == pytest.approx(metrics.measure("image", scores, masks)["image_ap"])
    # Thinned, nearly so.
    thin = metrics.curves(scores, masks, metrics.label_regions(masks), points=40)
    assert len(thin.roc) < 170
    assert area(thin.roc) == pytest.approx(area(found.roc), abs=0.01)
    assert area(thin.overlap, 0.3) == pytest.approx(area(found.overlap, 0.3), abs=0.01)


def test_curves_are_undefined_for_one_class():
    with pytest.warns(metrics.UndefinedMetric):
        assert metrics.curves(np.ones(3), np.zeros(3, bool)) is None
