"""float32 at its ends against float64: scores, the exact field and schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fields import linear_velocity
from hypothesis import given, settings
from hypothesis import strategies as st

from wtflow_jax.flow import ode, scores
from wtflow_jax.geometry.empirical import EARLIEST, empirical_velocity, posterior_mean
from wtflow_jax.training import schedule

LARGEST = float(np.finfo(np.float32).max)
FLOATS = st.floats(-LARGEST, LARGEST, width=32)
SOME = settings(deadline=None, max_examples=50)
PHI = np.array(
    [0, 1e-45, 1e-38, 1e-20, 1e-4, 0.1, 1, 4, 5.5, 50, 1e10, 1e18, 1.9e19, 1e38, np.inf], np.float32
)


def test_eq_2_saturates_at_one():
    a = np.asarray(scores.density_proxy(jnp.asarray(PHI)))
    exact = 1 - np.exp(-np.square(PHI.astype(np.float64)) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(a, exact, rtol=2e-7)
    assert (np.diff(a) >= 0).all()
    assert a[-1] == a[-6] == 1
    np.testing.assert_array_equal(a, scores.density_proxy(jnp.asarray(-PHI)))


def test_log_density_is_right_as_far_as_float32_goes():
    inside = PHI[(PHI > 1e-18) & (PHI <= 1e18)]
    exact = np.square(inside.astype(np.float64)) / 2
    np.testing.assert_allclose(scores.log_density(jnp.asarray(inside)), exact, rtol=1e-6)
    assert (np.diff(scores.log_density(jnp.asarray(PHI[:-3]))) >= 0).all()


UPSAMPLE = jax.jit(scores.upsample)


@pytest.mark.parametrize("score", scores.SCORES)
@given(phi=st.lists(FLOATS | st.sampled_from([np.inf, -np.inf]), min_size=4, max_size=4))
@SOME
def test_maps_of_any_endpoint_are_finite(score, phi):
    """An infinite cell beside a finite one: 0·∞ is no pixel."""
    x1 = np.zeros((1, 2, 2, 3), np.float32)
    x1[..., 0] = np.reshape(phi, (1, 2, 2))
    cells = scores.cell_scores(jnp.asarray(x1), score)
    maps = UPSAMPLE(cells, scores.upsampling((8, 8), (2, 2), 4))
    low, high = cells.min() * (1 - 1e-6), cells.max() * (1 + 1e-6)
    assert ((maps >= low) & (maps <= high)).all()
    for fraction in (0.0, 0.03, 1.0):
        assert bool(jnp.isfinite(scores.image_scores(maps, fraction)).all())


@pytest.mark.parametrize("score", scores.SCORES)
def test_not_a_number_is_not_hidden(score):
    x1 = np.zeros((1, 2, 2, 3), np.float32)
    x1[0, 0, 0, 1] = np.nan
    cells = scores.cell_scores(jnp.asarray(x1), score)
    assert bool(jnp.isnan(cells[0, 0, 0]))
    maps = UPSAMPLE(cells, scores.upsampling((8, 8), (2, 2), 4))
    assert bool(jnp.isnan(scores.image_scores(maps)[0]))


FIELD, MEAN = jax.jit(empirical_velocity), jax.jit(posterior_mean)
TIMES = [np.float32(t) for t in (0, 1e-7, 1e-4, 0.5, 1 - 2**-24, 1)]


def check_field(data, t, x):
    """Compare with float64, as far as float32 tells which data are the nearest."""
    rows, point, at = data.astype(np.float64), x.astype(np.float64), max(float(t), EARLIEST)
    squared = np.sum((point - (1 - at) * rows) ** 2, axis=1)
    weights = np.exp((squared.min() - squared) / (2 * at**2))
    mean = weights @ rows / weights.sum()
    u = (point - mean) / at
    # What rounding does to the squares, and the data that are as near within it.
    slack = 1e-6 * squared.max() / (2 * at**2)
    near = rows[(squared - squared.min()) / (2 * at**2) <= 2 * slack + 20]
    unsure = min(1.0, slack) * np.linalg.norm(near.max(0) - near.min(0)) / at
    rounded = 1e-7 * max(np.linalg.norm(rows, axis=1).max(), np.linalg.norm(point))
    # XLA takes smaller numbers for zero.
    rounded += float(np.finfo(np.float32).tiny)
    bound = 1e-6 * np.linalg.norm(u) + rounded / at + unsure
    found = np.asarray(FIELD(data, t, x), np.float64)
    assert np.linalg.norm(found - u) <= bound
    error = np.linalg.norm(np.asarray(MEAN(data, t, x), np.float64) - mean)
    assert error <= bound * at + rounded


def positions(data, t, scale, rng):
    """On a datum, near it, off the data, and far away."""
    noise = rng.normal(size=data.shape[1]).astype(np.float32)
    on = (1 - t) * data[0]
    return on, on + t * noise, on + np.float32(scale) * noise, 100 * np.float32(scale) * noise


@pytest.mark.parametrize("d", [1, 2, 64, 4096, 65536])
@pytest.mark.parametrize("kind", ["one", "equal", "last bit", "many"])
def test_the_field_is_right_where_its_squares_are_float32(d, kind):
    rng = np.random.default_rng(d)
    n = {"one": 1, "many": 20 if d < 65536 else 3}.get(kind, 2)
    unit = rng.normal(size=(n, d)).astype(np.float32)
    # The farthest position is 200·√D times the scale away.
    for scale in (1e-30, 1e-15, 1, 1e10, 5e16 / np.sqrt(d)):
        data = unit * np.float32(scale)
        if kind == "equal":
            data[1] = data[0]
        if kind == "last bit":
            data[1] = np.nextafter(data[0], np.float32(np.inf))
        for t in TIMES:
            for x in positions(data, t, scale, rng):
                check_field(data, t, x)


def test_where_its_squares_leave_float32_it_says_so():
    """A finite answer out there would be a wrong one."""
    data = np.random.default_rng(0).normal(size=(40, 64)).astype(np.float32)
    for scale in (1e19, 1e25, 1e38):
        x = np.full(64, scale, np.float32)
        assert np.isnan(FIELD(data, np.float32(0.5), x)).all()


@given(
    data=st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=2),
    x=st.floats(-1e6, 1e6, width=32),
    t=st.sampled_from(TIMES),
)
@SOME
def test_one_number_is_no_special_case(data, x, t):
    """Squares of one term were rounded differently in two places: exp of a million, NaN."""
    check_field(np.reshape(data, (2, 1)).astype(np.float32), t, np.array([x], np.float32))


def test_several_blocks_of_one_number():
    data = np.random.default_rng(0).normal(size=(9000, 1)).astype(np.float32)
    for x in (-1e4, 3.0, 1e3):
        check_field(data, np.float32(1e-3), np.array([x], np.float32))


@pytest.mark.parametrize("start", [0.0, 0.999999, 1 - 2**-24])
@pytest.mark.parametrize("steps", [1, 20])
def test_solves_that_begin_at_the_end(start, steps):
    """φ = x̂1/(1 − T) of a linear velocity, of Euler steps in float64."""
    params = {"a": jnp.float32(0.7), "b": jnp.float32(-0.3)}
    x0 = np.array([[1e-6, 1.0, -1e6]], np.float32)
    start = np.float32(start)
    end = ode.push_forward(linear_velocity, params, jnp.asarray(x0), steps=steps, start=start)
    x, left = (1 - float(start)) * x0.astype(np.float64), 1 - float(start)
    for i in range(steps):
        t = float(start) + left * i / steps
        x = x + left / steps * (0.7 * x - 0.3 * t)
    np.testing.assert_allclose(np.asarray(end) / (1 - start), x / left, rtol=2e-6)
    options = {"steps": steps, "solver": "euler", "start": start}
    nats = ode.log_likelihood(linear_velocity, params, jnp.asarray(x0), **options)
    assert bool(jnp.isfinite(nats).all())


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
