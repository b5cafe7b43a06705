"""The threshold is an order statistic, and keeps what it promises."""

import numpy as np
import pytest
from raising import fails

from wtflow_jax.metrics import threshold as decision


@pytest.mark.parametrize(
    ("n", "rate", "rank", "promised"),
    [
        (19, 0.05, 19, 0.05),  # exactly what 19 images can promise
        (39, 0.05, 38, 0.05),
        (99, 0.01, 99, 0.01),
        (40, 0.05, 39, 2 / 41),
        (10, 0.05, 10, 1 / 11),  # too few: the highest, and its rate
        (1, 0.01, 1, 0.5),
        (9, 0.999, 1, 0.9),
    ],
)
def test_the_order_statistic_and_its_promise(n, rate, rank, promised):
    scores = np.random.default_rng(0).permutation(n) + 1.0
    found = decision.threshold(scores, rate)
    assert found.value == rank
    assert found.rate == pytest.approx(promised)


def test_false_alarms_are_as_rare_as_promised():
    rng = np.random.default_rng(1)
    alarms = [
        np.mean(rng.normal(size=200) > decision.threshold(rng.normal(size=30), 0.1).value)
        for _ in range(2000)
    ]
    # k = 28 of 30: 1 − 28/31.
    assert np.mean(alarms) == pytest.approx(3 / 31, abs=0.005)


def test_one_score_and_equal_ones():
    assert decision.threshold(np.array([2.5]), 0.05) == (2.5, 0.5)
    assert decision.threshold(np.full(9, 2.5), 0.1) == (2.5, pytest.approx(0.1))


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
def test_none_is_set_by_what_is_no_number(score):
    """No score is above NaN: all images would be called good."""
    with fails("held-out score is NaN or infinite"):
        decision.threshold(np.array([1.0, score, 2.0]), 0.05)
