"""The distance between two fields whose difference is known."""

import jax
import jax.numpy as jnp
import numpy as np
from fields import inwards

from wtflow_jax.flow import targets
from wtflow_jax.geometry import field_error

KEY = jax.random.key(0)


def test_field_error_is_the_mean_square_of_the_difference():
    def shifted(params, t, x):
        return inwards(params, t, x) + 3 * t

    times = jnp.array([0.1, 1.0])
    found = field_error(
        shifted, None, inwards, None, jnp.ones((20, 4)), times, KEY, target=targets.point
    )
    np.testing.assert_allclose(found.error, (3 * times) ** 2, rtol=1e-5)
    np.testing.assert_allclose(found.reference, (1 - times) ** 2, atol=1e-6)
