import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from wtflow_jax import metrics


def test_agrees_with_scikit_learn_on_pixels():
    rng = np.random.default_rng(0)
    labels = rng.random((4, 50, 60)) < 0.07
    # Rounded: many ties.
    scores = np.round(rng.normal(size=labels.shape) + labels, 1).astype(np.float32)
    expected = roc_auc_score(labels.ravel(), scores.ravel())
    assert metrics.auroc(scores, labels) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_agrees_with_counting_pairs(pairs):
    scores = np.array([score for score, _ in pairs], np.float32)
    labels = np.array([label for _, label in pairs])
    if labels.all() or not labels.any():
        with pytest.raises(ValueError, match="undefined"):
            metrics.auroc(scores, labels)
        return
    difference = scores[labels][:, None] - scores[~labels][None]
    expected = np.mean((difference > 0) + 0.5 * (difference == 0))
    assert metrics.auroc(scores, labels) == pytest.approx(expected, abs=1e-12)


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        metrics.auroc(np.array([0.1, np.nan]), np.array([True, False]))
