"""Thresholds and metrics of scores at the ends of float32, and of what is no number."""

import numpy as np
import pytest
from raising import fails

from wtflow_jax import metrics
from wtflow_jax.metrics.threshold import threshold


def test_thresholds_of_one_score_and_of_equal_ones():
    assert threshold(np.array([2.5]), 0.05) == (2.5, 0.5)
    assert threshold(np.full(9, 2.5), 0.1) == (2.5, pytest.approx(0.1))


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
def test_no_threshold_is_set_by_what_is_no_number(score):
    """No score is above NaN: all images would be called good."""
    with fails("held-out score is NaN or infinite"):
        threshold(np.array([1.0, score, 2.0]), 0.05)


def test_metrics_of_scores_at_the_ends():
    """Infinity is ranked as the highest; NaN has no rank, and that is said."""
    labels = np.array([False, True, False, True])
    found = np.array([1.0, np.inf, -np.inf, 1.0], np.float32)
    assert metrics.auroc(found, labels) == metrics.auroc(np.array([1.0, 9, -9, 1]), labels) == 0.875
    found[2] = np.nan
    masks = labels.reshape(1, 2, 2)
    for call in (
        lambda: metrics.auroc(found, labels),
        lambda: metrics.pixel_metrics(found.reshape(1, 2, 2), masks)["aupro"],
        lambda: metrics.spro(found.reshape(1, 2, 2), [metrics.Region(0, masks[0], 1.0)]),
    ):
        with pytest.warns(metrics.UndefinedMetric, match="a score is NaN"):
            assert call() is None
