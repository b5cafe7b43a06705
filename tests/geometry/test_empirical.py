"""The exact field of finite data: against float64, the score, the posterior, and a Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fields import gaussian_endpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from wtflow_jax.flow import ode
from wtflow_jax.geometry.empirical import EARLIEST, empirical_velocity, posterior_mean

RNG = np.random.default_rng(0)
TIMES = (1e-3, 1e-2, 0.03, 0.1, 0.4, 1.0)
EXTREMES = [np.float32(t) for t in (0, 1e-7, 1e-4, 0.5, 1 - 2**-24, 1)]
FIELD, MEAN = jax.jit(empirical_velocity), jax.jit(posterior_mean)
BATCHED = jax.jit(jax.vmap(empirical_velocity, (None, None, 0)))


def exact(data, t, x):
    """Eq. 4's minimiser in float64, straight from its definition."""
    data, x, t = (np.asarray(a, np.float64) for a in (data, x, t))
    data, point = data.reshape(len(data), -1), x.ravel()
    log_weights = -np.sum((point - (1 - t) * data) ** 2, axis=1) / (2 * t**2)
    weights = np.exp(log_weights - log_weights.max())
    return ((point - weights @ data / weights.sum()) / t).reshape(x.shape)


def cloud(n, d, spread, offset):
    """Data near a subspace of 20 dimensions, off the origin."""
    base = RNG.normal(size=(n, 20)) @ RNG.normal(size=(20, d)) / np.sqrt(20)
    return (spread * (base + 0.2 * RNG.normal(size=(n, d))) + offset).astype(np.float32)


@pytest.mark.parametrize(("spread", "offset"), [(1, 0), (1, 1), (0.1, 1), (0.01, 1), (0.001, 1)])
@pytest.mark.parametrize("t", TIMES)
def test_it_equals_the_direct_sum_in_float64(t, spread, offset):
    data = cloud(9000, 64, spread, offset)  # three blocks, the last one overlapping
    t = jnp.float32(t)
    some = data[RNG.integers(len(data), size=8)]
    noise = RNG.normal(size=some.shape)
    for x in ((1 - t) * some + t * noise, (1 - t) * some, (1 - t) * (some + spread * noise)):
        x = np.asarray(x, np.float32)
        u = BATCHED(jnp.asarray(data), t, jnp.asarray(x))
        for ours, point in zip(np.asarray(u), x, strict=True):
            expected = exact(data, t, point)
            scale = max(np.linalg.norm(expected), np.linalg.norm(point))
            assert np.linalg.norm(ours - expected) <= 1e-4 * scale


def test_it_holds_at_the_papers_dimension():
    data = RNG.normal(size=(40, 32, 32, 256)).astype(np.float32)
    for t in (1e-3, 0.1, 0.9):
        x = ((1 - t) * data[3] + t * RNG.normal(size=data.shape[1:])).astype(np.float32)
        u = empirical_velocity(jnp.asarray(data), jnp.float32(t), jnp.asarray(x))
        expected = exact(data, jnp.float32(t), x)
        assert np.linalg.norm(u - expected) <= 1e-4 * np.linalg.norm(expected)


def test_memory_stays_bounded():
    """10,000 positions against 40,000 data would be 1.6 GB at once."""
    shapes = (40_000, 64), (), (10_000, 64)
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    memory = BATCHED.lower(*arguments).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 0.8e9


def test_lemma_2_through_the_score():
    data = jnp.asarray(RNG.normal(size=(50, 3)), jnp.float32)
    x = jnp.asarray([0.3, -0.4, 0.9])

    def log_density(x, t):
        squares = jnp.sum((x - (1 - t) * data) ** 2, axis=1) / (2 * t**2)
        return jax.scipy.special.logsumexp(-squares)

    for t in (0.2, 0.5, 0.9):
        score = jax.grad(log_density)(x, t)
        expected = -x / (1 - t) - t / (1 - t) * score
        u = empirical_velocity(data, jnp.float32(t), x)
        np.testing.assert_allclose(u, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_its_two_limits_at_early_times_disagree():
    data = jnp.asarray(RNG.normal(size=(20, 64)), jnp.float32)
    x, t = data[4], jnp.float32(EARLIEST)
    np.testing.assert_array_equal(empirical_velocity(data, jnp.float32(0), x), jnp.zeros(64))
    off = x + 0.01
    np.testing.assert_allclose(empirical_velocity(data, t, off), (off - x) / t, rtol=1e-3)
    x1 = jnp.asarray(RNG.normal(size=(4000, 64)), jnp.float32)
    near = (1 - t) * x + t * x1
    mean = jnp.mean(jax.vmap(empirical_velocity, (None, None, 0))(data, t, near), axis=0)
    np.testing.assert_allclose(mean, -x, atol=5 / np.sqrt(4000))


def test_it_is_the_mean_velocity_of_what_passes_by():
    data = RNG.normal(size=(6, 2)).astype(np.float32)
    t, x = 0.5, np.array([0.2, -0.1], np.float32)
    x0 = data[RNG.integers(6, size=2_000_000)]
    x1 = RNG.normal(size=x0.shape)
    passing = np.linalg.norm((1 - t) * x0 + t * x1 - x, axis=1) < 0.03
    expected = (x1 - x0)[passing].mean(0)
    error = (x1 - x0)[passing].std(0) / np.sqrt(passing.sum())
    u = empirical_velocity(jnp.asarray(data), jnp.float32(t), jnp.asarray(x))
    assert (np.abs(u - expected) < 5 * error + 0.01).all()


def test_its_flow_standardizes_a_gaussian():
    params = {"mean": jnp.array([1.0, -2.0]), "scale": jnp.array(0.7)}
    data = params["mean"] + params["scale"] * jax.random.normal(jax.random.key(0), (20_000, 2))
    x = data[:20]
    # From T on, since nothing but the data themselves is there before.
    end = ode.push_forward(empirical_velocity, data, x, steps=60, solver=ode.HEUN, t_start=0.3)
    m, variance = 0.7 * params["mean"], 0.7**2 * params["scale"] ** 2 + 0.3**2
    expected = (0.7 * x - m) / jnp.sqrt(variance)
    assert jnp.max(jnp.abs(end - expected)) < 0.1
    at_zero = gaussian_endpoint(params, x)
    assert jnp.max(jnp.abs(expected - at_zero)) > 0.1


@pytest.mark.parametrize("d", [2, pytest.param(40, marks=pytest.mark.slow)])
def test_its_derivatives_are_those_of_the_posterior(d):
    """∇u = I/t − (1 − t)/t³·Cov[x0 | x_t = x], suppl. Eq. 31, forwards and backwards."""
    data = jnp.asarray(RNG.normal(size=(30, d)), jnp.float32)
    x, t = data[0] * 0.5 + 0.1, 0.6
    log_weights = -jnp.sum((x - (1 - t) * data) ** 2, axis=1) / (2 * t**2)
    covariance = jnp.cov(data.T, aweights=jax.nn.softmax(log_weights), ddof=0)
    expected = jnp.eye(d) / t - (1 - t) / t**3 * covariance
    for jacobian in (jax.jacfwd, jax.jacrev):
        found = jacobian(empirical_velocity, argnums=2)(data, jnp.float32(t), x)
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_posterior_mean_lies_among_the_data():
    data = jnp.asarray(RNG.normal(size=(30, 4)) + 5, jnp.float32)
    np.testing.assert_allclose(
        posterior_mean(data, jnp.float32(1), jnp.zeros(4)), data.mean(0), rtol=1e-5
    )
    np.testing.assert_allclose(posterior_mean(data, jnp.float32(0), data[7]), data[7], rtol=1e-6)


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
        for t in EXTREMES:
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
    t=st.sampled_from(EXTREMES),
)
@settings(deadline=None, max_examples=50)
def test_one_number_is_no_special_case(data, x, t):
    """Squares of one term were rounded differently in two places: exp of a million, NaN."""
    check_field(np.reshape(data, (2, 1)).astype(np.float32), t, np.array([x], np.float32))


def test_several_blocks_of_one_number():
    data = np.random.default_rng(0).normal(size=(9000, 1)).astype(np.float32)
    for x in (-1e4, 3.0, 1e3):
        check_field(data, np.float32(1e-3), np.array([x], np.float32))
