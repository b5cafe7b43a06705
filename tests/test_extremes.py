"""float32 at its ends against float64: scores, the exact field, thresholds and schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fields import linear_velocity
from hypothesis import given, settings
from hypothesis import strategies as st
from raising import fails

from wtflow_jax import metrics
from wtflow_jax.flow import ode, scores
from wtflow_jax.geometry.empirical import EARLIEST, empirical_velocity, posterior_mean
from wtflow_jax.metrics import threshold as decision
from wtflow_jax.training import schedule

LARGEST = float(np.finfo(np.float32).max)
FLOATS = st.floats(-LARGEST, LARGEST, width=32)
SOME = settings(deadline=None, max_examples=50)
PHI = np.array(
    [0, 1e-45, 1e-38, 1e-20, 1e-4, 0.1, 1, 4, 5.5, 50, 1e10, 1e18, 1.9e19, 1e38, np.inf], np.float32
)


UPSAMPLE = jax.jit(scores.upsample)


FIELD, MEAN = jax.jit(empirical_velocity), jax.jit(posterior_mean)
TIMES = [np.float32(t) for t in (0, 1e-7, 1e-4, 0.5, 1 - 2**-24, 1)]


@pytest.mark.parametrize(
    ("epochs", "decay_at", "rates"),
    [
        (1, (0.4, 0.8), [1]),
        (2, (0.4, 0.8), [1, 0.1]),
        (2, (0.5, 0.5), [1, 0.01]),
        (3, (0.0, 1.0), [0.1, 0.1, 0.1]),
        (2, (), [1, 1]),
    ],
)
def test_schedules_with_fewer_epochs_than_decays(epochs, decay_at, rates):
    found = [schedule.learning_rate(epoch, epochs, 1.0, decay_at) for epoch in range(epochs)]
    np.testing.assert_allclose(found, rates)


@given(hundredths=st.integers(0, 99), hundreds=st.integers(1, 5))
@SOME
def test_a_decay_is_on_time(hundredths, hundreds):
    """7 of 100 epochs: 0.07 times 100 is a bit more in float64, and came an epoch late."""
    at, epochs = hundredths * hundreds, 100 * hundreds
    rates = [schedule.learning_rate(e, epochs, 1.0, (hundredths / 100,)) for e in (at - 1, at)]
    np.testing.assert_allclose(rates, [1, 0.1])


@pytest.mark.parametrize("samples", [1, 3])
def test_an_order_of_fewer_samples_than_a_batch(samples):
    assert sorted(schedule.epoch_order(0, 0, samples, 8)[0]) == list(range(samples))


def test_thresholds_of_one_score_and_of_equal_ones():
    assert decision.threshold(np.array([2.5]), 0.05) == (2.5, 0.5)
    assert decision.threshold(np.full(9, 2.5), 0.1) == (2.5, pytest.approx(0.1))


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
def test_no_threshold_is_set_by_what_is_no_number(score):
    """No score is above NaN: all images would be called good."""
    with fails("held-out score is NaN or infinite"):
        decision.threshold(np.array([1.0, score, 2.0]), 0.05)


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

