"""The centripetal potential, by Monte Carlo."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wtflow_jax.flow import targets
from wtflow_jax.geometry import mean_velocity

KEY = jax.random.key(0)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_mean_velocity_is_centripetal_for_every_target(name):
    x = jnp.array([0.6, -0.3, 0.2])
    mean = mean_velocity(KEY, x, targets.TARGETS[name], draws=20_000)
    np.testing.assert_allclose(mean, -x, atol=5 / np.sqrt(20_000))
