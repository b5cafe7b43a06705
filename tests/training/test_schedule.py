"""An epoch's order, when the rate decays, and when a run diverges."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wtflow_jax.training import schedule


@pytest.mark.parametrize(
    ("samples", "batch", "steps"), [(21, 4, 6), (3, 8, 1), (8, 8, 1), (1, 8, 1)]
)
def test_every_sample_comes_and_the_last_batch_is_filled(samples, batch, steps):
    order = schedule.epoch_order(0, 2, samples, batch)
    assert order.shape == (steps, min(batch, samples))
    assert sorted(order.ravel()[:samples]) == list(range(samples))
    np.testing.assert_array_equal(order, schedule.epoch_order(0, 2, samples, batch))
    if samples > 3:
        assert (order != schedule.epoch_order(0, 3, samples, batch)).any()


def test_the_paper_s_decays():
    assert schedule.decay_steps(100, 7, (0.25, 0.5, 0.75)) == (175, 350, 525)


@pytest.mark.parametrize(
    ("epochs", "decay_at", "expected"),
    [
        (1, (0.4, 0.8), (1, 1)),
        (2, (0.4, 0.8), (1, 2)),
        (2, (0.5, 0.5), (1, 1)),
        (3, (1.0, 0.0), (0, 3)),
        (2, (), ()),
    ],
)
def test_fewer_epochs_than_decays(epochs, decay_at, expected):
    assert schedule.decay_steps(epochs, 1, decay_at) == expected


@given(hundredths=st.integers(0, 99), hundreds=st.integers(1, 5))
@settings(deadline=None, max_examples=100)
def test_a_decay_is_on_time(hundredths, hundreds):
    """7 of 100 epochs: 0.07 times 100 is a bit more in float64, and came an epoch late."""
    found = schedule.decay_steps(100 * hundreds, 3, (hundredths / 100,))
    assert found == (3 * hundredths * hundreds,)


def test_how_many_steps_come_at_a_time_does_not_matter():
    """Losses are added one by one, so that a compiled loop gives the same mean to the last bit."""
    losses = [0.1, 0.7, 1e-9, 3.3, 0.2]
    at_once = schedule.BEGINNING.after(losses, 0)
    one_by_one = schedule.BEGINNING
    for loss in losses:
        one_by_one = one_by_one.after([loss], 0)
    assert at_once == one_by_one
    assert at_once.over() == schedule.Past((at_once.loss,), first=0.1)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_told(loss):
    past = schedule.Past((1.0,)).after([1.0], 0)
    with pytest.raises(schedule.Diverged, match=f"the loss is {loss} in step 2 of epoch 2"):
        past.after([loss], 0)


def test_a_loss_above_the_first_for_five_epochs():
    low, high = 2.1, 2.3
    for losses in ([high] * 4, [high] * 5 + [low], [high] * 4 + [low] + [high] * 4):
        schedule.Past(tuple(losses), first=2.0).check()
    with pytest.raises(schedule.Diverged, match=r"above 2, that of the first step, for 5 epochs"):
        schedule.Past((low, *[high] * 5), first=2.0).check()
    assert schedule.Past((high, low), first=2.0).good
    assert not schedule.Past((low, high), first=2.0).good
