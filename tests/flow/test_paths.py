"""The straight path and the laws of its time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from wtflow_jax.flow import paths

KEY = jax.random.key(3)


def test_the_velocity_is_the_derivative_of_the_path():
    x0, x1 = jnp.array([1.0, 2.0]), jnp.array([-3.0, 5.0])
    x, derivative = jax.jvp(lambda t: paths.position(x0, x1, t), (0.3,), (1.0,))
    np.testing.assert_allclose(derivative, paths.velocity(x0, x1), rtol=1e-6)
    np.testing.assert_allclose(x, [-0.2, 2.9], rtol=1e-6)


def test_the_path_starts_at_the_data():
    x0, x1 = jnp.array([1.0, 2.0]), jnp.array([-3.0, 5.0])
    np.testing.assert_array_equal(paths.position(x0, x1, jnp.float32(0)), x0)
    np.testing.assert_array_equal(paths.position(x0, x1, jnp.float32(1)), x1)


def draw(law, n=20_000, key=KEY):
    index = jnp.arange(n)
    keys = jax.random.split(jax.random.fold_in(key, 1), n)
    return np.asarray(jax.vmap(law, in_axes=(0, None, 0))(keys, key, index))


@pytest.mark.parametrize(
    ("law", "cdf"),
    [
        ("uniform", lambda t: t),
        ("stratified", lambda t: t),
        ("beta", lambda t: 1 - (1 - t) ** 3),
        ("logit_normal", lambda t: norm.cdf(np.log(t / (1 - t)))),
    ],
)
def test_time_laws_have_their_distribution(law, cdf):
    t = draw(paths.TIME_LAWS[law])
    assert t.dtype == np.float32
    assert t.min() >= 0
    assert t.max() < 1
    at = np.linspace(0.05, 0.95, 19)
    found = np.mean(t[:, None] <= at, axis=0)
    np.testing.assert_allclose(found, cdf(at), atol=0.012)


def test_stratified_times_are_spread_evenly():
    # Any 200 samples in a row: no two-hundredth of [0, 1) holds more than two of them.
    for first in (0, 1000, 2**31 - 300):
        index = first + jnp.arange(200)
        keys = jax.random.split(KEY, 200)
        t = jax.vmap(paths.stratified_time, in_axes=(0, None, 0))(keys, KEY, index)
        counts, _ = np.histogram(t, bins=200, range=(0, 1))
        assert counts.max() <= 2
    shifted = draw(paths.stratified_time, key=jax.random.key(4))
    assert abs(shifted[0] - draw(paths.stratified_time)[0]) > 1e-3
