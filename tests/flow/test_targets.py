"""Target distributions: moments, norms, and the origin."""

import jax
import jax.numpy as jnp
import numpy as np

from wtflow_jax.flow import targets

KEY = jax.random.key(3)


def test_a_gaussian_has_mean_0_and_variance_1():
    x = jax.vmap(lambda key: targets.gaussian(key, (5, 7, 11)))(jax.random.split(KEY, 200))
    np.testing.assert_allclose(jnp.mean(x), 0, atol=0.01)
    np.testing.assert_allclose(jnp.std(x), 1, atol=0.01)


def test_a_sphere_has_the_radius_of_the_gaussian_annulus():
    x = targets.sphere(KEY, (5, 7, 11))
    np.testing.assert_allclose(jnp.linalg.norm(x), np.sqrt(5 * 7 * 11), rtol=1e-6)


def test_a_point_is_the_origin():
    assert not targets.point(KEY, (5, 7)).any()
