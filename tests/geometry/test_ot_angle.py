"""Optimal transport of few points, and angles on a circle."""

import jax.numpy as jnp
import numpy as np
import pytest
from fields import inwards

from wtflow_jax.geometry import optimal_displacement, ot_angle


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
