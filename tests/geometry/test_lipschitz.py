"""Local Lipschitz constants of fields that are known, and Theorem 2's bound."""

import jax
import jax.numpy as jnp
import numpy as np

from wtflow_jax.flow import targets
from wtflow_jax.geometry import empirical_velocity, lipschitz_bound, lipschitz_profile

KEY = jax.random.key(0)


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
