"""The threshold is an order statistic and keeps its promised rate."""

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


def test_of_several_images_a_part_the_highest_keeps_the_promise():
    """Counted by single images, which are alike, the promise is broken."""
    rng = np.random.default_rng(2)

    def parts(n):
        return rng.normal(size=(n, 1)) + 0.3 * rng.normal(size=(n, 6))

    rates = []
    for _ in range(2000):
        good, new = parts(10), parts(40).max(axis=1)
        found = [decision.threshold(values, 0.05) for values in (good.max(axis=1), good.ravel())]
        rates.append([[np.mean(new > one.value), one.rate] for one in found])
    (kept, promised), (broken, aimed) = np.mean(rates, axis=0)
    assert kept == pytest.approx(promised, abs=0.01)
    assert broken > 2 * aimed


@pytest.mark.parametrize("left_out", [0, 3, 10])
def test_the_rate_if_all_that_was_left_out_is_good(left_out):
    rng, rates = np.random.default_rng(3), []
    for _ in range(2000):
        good = np.sort(rng.normal(size=50))
        found = decision.threshold(good[: 50 - left_out], 0.05)
        rates.append([np.mean(rng.normal(size=100) > found.value)])
    highest = decision.highest_rate(found, 50 - left_out, left_out)
    assert np.mean(rates) == pytest.approx(highest, abs=0.01)
    assert (highest == pytest.approx(found.rate)) == (not left_out)


def test_far_scores_are_those_that_leave_the_spread_of_the_others():
    rng = np.random.default_rng(4)
    good = np.exp(0.1 * rng.normal(size=(500, 60)))
    # One of a hundred sets of good images has one, were they log-normal.
    assert np.mean([decision.far(scores).any() for scores in good]) < 0.05
    for scores in good[:20]:
        mixed = np.concatenate([scores, [3, 4, 5]])
        for unit in (1e-3, 1, 1e3):
            assert np.nonzero(decision.far(unit * mixed))[0].tolist()[-3:] == [60, 61, 62]
    assert not decision.far(np.ones(5)).any()
    assert not decision.far(np.zeros(5)).any()


def test_the_rate_of_a_threshold_that_was_moved():
    scores = np.arange(1.0, 100.0)
    for rate in (0.01, 0.05, 0.5):
        found = decision.threshold(scores, rate)
        assert decision.rate_of(scores, found.value) == pytest.approx(found.rate)
    assert decision.rate_of(scores, 1000.0) == 0.01
    assert decision.rate_of(scores, 0.0) == 1.0
