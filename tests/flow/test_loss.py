"""The rFM loss, and the keys of its samples."""

import fields
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wtflow_jax.flow import loss, paths, targets

KEY = jax.random.key(3)


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
    """The loss of one sample is that of the same index alone, wherever it stands in a batch."""

    def of_one(velocity_fn, params, x0, x1, t):
        # All but the sample with this x0 count nothing.
        return jnp.where(x0[0] == 4, jnp.sum(x1) + t, 0.0)

    def found(*index):
        at = jnp.array(index)
        x0 = at[:, None] * jnp.ones((1, 3))
        return len(index) * loss.rfm_loss(zero_velocity, None, x0, KEY, index=at, loss=of_one)

    np.testing.assert_allclose(found(0, 1, 4), found(4), rtol=1e-6)
    np.testing.assert_allclose(found(5, 4, 3, 2), found(4), rtol=1e-6)
    keys = loss.sample_keys(KEY, jnp.array([4, 3, 4]))
    assert keys[0] == keys[2] != keys[1]


def test_another_loss_takes_the_place_of_the_paper_s():
    def of_time(velocity_fn, params, x0, x1, t):
        return t + velocity_fn(params, t, x0).sum()

    value = loss.rfm_loss(zero_velocity, None, jnp.zeros((4000, 2)), KEY, loss=of_time)
    np.testing.assert_allclose(value, 0.5, atol=0.02)
    assert loss.LOSSES["rfm"] is loss.rfm


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
def test_the_loss_does_not_depend_on_order(order):
    x0 = jnp.arange(12.0).reshape(4, 3)
    index = jnp.array(order)
    value = loss.rfm_loss(zero_velocity, None, x0[index], KEY, index=index)
    np.testing.assert_allclose(value, loss.rfm_loss(zero_velocity, None, x0, KEY), rtol=1e-6)
