import fields
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wtflow_jax.flow import ode, targets
from wtflow_jax.geometry.centripetal import centripetal_potential, mean_velocity
from wtflow_jax.geometry.empirical import empirical_velocity
from wtflow_jax.geometry.field_error import field_error
from wtflow_jax.geometry.lipschitz import lipschitz_bound, lipschitz_profile
from wtflow_jax.geometry.ot_angle import optimal_displacement, ot_angle
from wtflow_jax.geometry.radial import radial_profile

KEY = jax.random.key(0)


def inwards(params, t, x):
    return -x


@pytest.mark.parametrize("radius", [0.5, 3.0])
def test_the_potential_is_minus_the_distance(radius):
    d = jnp.array([0.0, 0.4, 2.0])
    np.testing.assert_allclose(centripetal_potential(d, radius), -d, atol=1e-6)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_mean_velocity_is_centripetal_for_every_target(name):
    x = jnp.array([0.6, -0.3, 0.2])
    mean = mean_velocity(KEY, x, targets.TARGETS[name], draws=20_000)
    np.testing.assert_allclose(mean, -x, atol=5 / np.sqrt(20_000))


def test_radial_profile_is_the_norm_of_the_trajectory():
    x0 = jax.random.normal(KEY, (20, 2, 3))
    radii = radial_profile(inwards, None, x0, steps=4)
    expected = jnp.linalg.norm(x0.reshape(20, -1), axis=1)[:, None] * 0.75 ** jnp.arange(5)
    np.testing.assert_allclose(radii, expected, rtol=1e-5)


def test_lipschitz_constants_of_an_affine_field():
    rng = np.random.default_rng(0)
    params = {
        "a": jnp.asarray(rng.normal(size=(5, 5)), jnp.float32),
        "b": jnp.asarray(rng.normal(size=5), jnp.float32),
    }

    def affine(params, t, x):
        return t * params["a"] @ x + t * params["b"]

    times = jnp.array([0.25, 1.0])
    profile = lipschitz_profile(
        affine, params, jnp.ones((3, 5)), times, KEY, target=targets.point, iterations=100
    )
    largest = np.linalg.norm(np.asarray(params["a"]), 2)
    np.testing.assert_allclose(profile.space, times[:, None] * largest * np.ones((2, 3)), rtol=1e-3)
    x = (1 - times)[:, None] * np.ones(5)
    rates = np.linalg.norm(x @ params["a"].T + params["b"], axis=1)
    np.testing.assert_allclose(profile.time, rates[:, None] * np.ones((2, 3)), rtol=1e-4)


def test_one_point_reaches_the_bound_and_two_stay_below():
    times = jnp.array([0.05, 0.3, 0.9])
    one = lipschitz_profile(empirical_velocity, jnp.zeros((1, 4)), jnp.zeros((2, 4)), times, KEY)
    np.testing.assert_allclose(one.space, (1 / times)[:, None] * np.ones((3, 2)), rtol=1e-3)
    corners = jnp.array([[0.0] * 4, [1.0] * 4])
    two = lipschitz_profile(empirical_velocity, corners, corners, times, KEY)
    assert (two.space <= lipschitz_bound(times, 4)[:, None] * 1.001).all()


def test_the_bound_has_two_branches():
    np.testing.assert_allclose(lipschitz_bound(jnp.array([0.1, 1.0]), 4), [3600, 1], rtol=1e-5)


def test_the_assignment_is_the_cheapest():
    x0 = np.array([[0.0], [1.0], [5.0]])
    np.testing.assert_allclose(
        optimal_displacement(x0, np.array([[5.5], [0.5], [1.0]])), [[0.5], [0.0], [0.5]]
    )


@pytest.mark.parametrize("turn", [0.1, 0.5])
def test_angles_between_points_of_one_circle(turn):
    """The chord of a turn δ makes the angle 90° − δ/2 with the way to the centre: never obtuse."""
    angle = 2 * np.pi * np.arange(8) / 8

    def circle(angle):
        return jnp.asarray(2 * np.stack([np.cos(angle), np.sin(angle)], axis=1), jnp.float32)

    found = ot_angle(inwards, None, circle(angle), circle(angle + turn)[::-1])
    # Beyond an eighth of the circle's eighth a neighbour is nearer.
    step = min(turn, 2 * np.pi / 8 - turn)
    np.testing.assert_allclose(found.whole, np.sin(step / 2), rtol=1e-4)
    np.testing.assert_allclose(found.normal, 1)
    np.testing.assert_allclose(found.normal_share, np.sin(step / 2) ** 2, rtol=1e-3)
    np.testing.assert_allclose(found.tangent, 0, atol=1e-6)
    np.testing.assert_allclose(found.tangential, 0, atol=1e-6)


def test_field_error_is_the_mean_square_of_the_difference():
    def shifted(params, t, x):
        return inwards(params, t, x) + 3 * t

    times = jnp.array([0.1, 1.0])
    found = field_error(
        shifted, None, inwards, None, jnp.ones((20, 4)), times, KEY, target=targets.point
    )
    np.testing.assert_allclose(found.error, (3 * times) ** 2, rtol=1e-5)
    np.testing.assert_allclose(found.reference, (1 - times) ** 2, atol=1e-6)


def log_normal(x):
    mean, scale = fields.PARAMS["mean"], fields.PARAMS["scale"]
    z = (x - mean) / scale
    return -0.5 * jnp.sum(z**2, axis=1) - 3 * jnp.log(scale) - 1.5 * jnp.log(2 * jnp.pi)


def test_log_likelihood_of_a_gaussian():
    x = fields.PARAMS["mean"] + jax.random.normal(KEY, (6, 3))
    exact = ode.log_likelihood(fields.gaussian_velocity, fields.PARAMS, x, steps=100)
    np.testing.assert_allclose(exact, log_normal(x), rtol=1e-3)
    # The Jacobian is a multiple of the identity: Rademacher probes make no error.
    estimate = ode.log_likelihood(fields.gaussian_velocity, fields.PARAMS, x, KEY, steps=100)
    np.testing.assert_allclose(estimate, exact, rtol=1e-5)


def test_hutchinsons_estimate_is_unbiased():
    a = jnp.asarray(np.random.default_rng(1).normal(size=(4, 4)), jnp.float32)

    def linear(a, t, x):
        return a @ x

    x = jnp.ones((1, 4))
    exact = ode.log_likelihood(linear, a, x, steps=20)
    few = ode.log_likelihood(linear, a, jnp.ones((500, 4)), KEY, steps=20, probes=2)
    off_diagonal = np.sum((a + a.T) ** 2) / 2 - 2 * np.sum(jnp.diag(a) ** 2)
    error = np.sqrt(off_diagonal / (2 * 500))
    assert abs(float(few.mean()) - float(exact[0])) < 4 * error
    assert float(few.std()) > 0
