"""The radius along a trajectory."""

import jax
import jax.numpy as jnp
import numpy as np
from fields import inwards

from wtflow_jax.geometry import radial_profile

KEY = jax.random.key(0)


def test_radial_profile_is_the_norm_of_the_trajectory():
    x0 = jax.random.normal(KEY, (20, 2, 3))
    radii = radial_profile(inwards, None, x0, steps=4)
    expected = jnp.linalg.norm(x0.reshape(20, -1), axis=1)[:, None] * 0.75 ** jnp.arange(5)
    np.testing.assert_allclose(radii, expected, rtol=1e-5)
