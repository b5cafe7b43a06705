import math

import fields
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wtflow_jax.flow import loss, paths, targets

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


def test_targets():
    shape = (5, 7, 11)
    root_d = np.sqrt(5 * 7 * 11)
    x = jax.vmap(lambda k: targets.gaussian(k, shape))(jax.random.split(KEY, 200))
    np.testing.assert_allclose(jnp.mean(x), 0, atol=0.01)
    np.testing.assert_allclose(jnp.std(x), 1, atol=0.01)
    norms = jnp.linalg.norm(targets.sphere(KEY, shape))
    np.testing.assert_allclose(norms, root_d, rtol=1e-6)
    assert not targets.point(KEY, shape).any()


def draw(law, n=20_000, key=KEY):
    index = jnp.arange(n)
    keys = jax.random.split(jax.random.fold_in(key, 1), n)
    return np.asarray(jax.vmap(law, in_axes=(0, None, 0))(keys, key, index))


def _normal_cdf(x):
    return 0.5 * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))


@pytest.mark.parametrize(
    ("law", "cdf"),
    [
        ("uniform", lambda t: t),
        ("stratified", lambda t: t),
        ("beta", lambda t: 1 - (1 - t) ** 3),
        ("logit_normal", lambda t: _normal_cdf(np.log(t / (1 - t)))),
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


def test_the_time_law_reaches_the_loss():
    # Without a velocity the loss of a point target at t is ‖x0‖², whatever t is; with v = t it is
    # (−x0 − t)², so its mean says what t was.
    def time(params, t, x):
        return jnp.full_like(x, t)

    x0 = jnp.zeros((4000, 2))
    for law, second_moment in (("uniform", 1 / 3), ("stratified", 1 / 3), ("beta", 1 / 10)):
        value = loss.rfm_loss(
            time, None, x0, KEY, target=targets.point, time_law=paths.TIME_LAWS[law]
        )
        np.testing.assert_allclose(value, second_moment, atol=0.012)


def zero_velocity(params, t, x):
    return jnp.zeros_like(x)


def test_the_loss_of_no_velocity_is_the_second_moment_per_element():
    # E‖x1 − x0‖² / D = 1 + mean(x0²): squared, and a mean over elements.
    x0 = jnp.full((400, 6, 5), 2.0)
    value = loss.rfm_loss(zero_velocity, None, x0, KEY)
    np.testing.assert_allclose(value, 5, rtol=0.02)


def test_the_point_target_is_drawn_inside():
    x0 = jnp.arange(12.0).reshape(4, 3)
    value = loss.rfm_loss(zero_velocity, None, x0, KEY, target=targets.point)
    np.testing.assert_allclose(value, jnp.mean(x0**2), rtol=1e-6)


def test_the_exact_velocity_reaches_the_least_loss():
    """For Gaussian data the minimum is known: the conditional variance of x1 − x0 given x_t."""
    n, scale = 20_000, 0.7
    params = {"mean": jnp.array([1.0, -2.0, 0.5]), "scale": jnp.float32(scale)}
    x0 = params["mean"] + scale * jax.random.normal(jax.random.key(0), (n, 3))
    exact = float(loss.rfm_loss(fields.gaussian_velocity, params, x0, KEY))
    t = (np.arange(100_000) + 0.5) / 100_000
    # Var(x1 − x0 | x_t) = scale² / ((1 − t)² scale² + t²), averaged over t.
    least = np.mean(scale**2 / ((1 - t) ** 2 * scale**2 + t**2))
    np.testing.assert_allclose(exact, least, rtol=0.02)

    def off(params, t, x):
        return fields.gaussian_velocity(params, t, x) + 0.3

    worse = float(loss.rfm_loss(off, params, x0, KEY))
    np.testing.assert_allclose(worse - exact, 0.09, atol=0.01)


def test_noise_belongs_to_the_sample_not_to_the_batch():
    rng = np.random.default_rng(0)
    x0 = jnp.asarray(rng.normal(size=(6, 4)), jnp.float32)

    def one(i, index):
        batch = x0[jnp.array(index)]
        keys = loss.sample_keys(KEY, jnp.array(index))
        return loss.sample_loss(zero_velocity, None, batch[i], jnp.float32(0.3), keys[i])

    alone, in_batch, elsewhere = one(0, [4]), one(2, [0, 1, 4]), one(1, [5, 4, 3])
    np.testing.assert_array_equal(alone, in_batch)
    np.testing.assert_array_equal(alone, elsewhere)
    assert float(one(0, [3])) != float(alone)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
def test_the_loss_does_not_depend_on_order(order):
    x0 = jnp.arange(12.0).reshape(4, 3)
    index = jnp.array(order)
    value = loss.rfm_loss(zero_velocity, None, x0[index], KEY, index=index)
    np.testing.assert_allclose(value, loss.rfm_loss(zero_velocity, None, x0, KEY), rtol=1e-6)
