"""Instruments for flow geometry, on any ``velocity_fn(params, t, x)`` and on closed forms."""

from wtflow_jax.geometry.centripetal import centripetal_potential, mean_velocity
from wtflow_jax.geometry.empirical import empirical_velocity, posterior_mean
from wtflow_jax.geometry.field_error import FieldError, field_error
from wtflow_jax.geometry.lipschitz import (
    LipschitzProfile,
    largest_singular_value,
    lipschitz_bound,
    lipschitz_profile,
)
from wtflow_jax.geometry.ot_angle import OTAngle, optimal_displacement, ot_angle
from wtflow_jax.geometry.radial import Radii, radial_profile

__all__ = [
    "FieldError",
    "LipschitzProfile",
    "OTAngle",
    "Radii",
    "centripetal_potential",
    "empirical_velocity",
    "field_error",
    "largest_singular_value",
    "lipschitz_bound",
    "lipschitz_profile",
    "mean_velocity",
    "optimal_displacement",
    "ot_angle",
    "posterior_mean",
    "radial_profile",
]
