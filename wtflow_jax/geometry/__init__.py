"""Measurements of flow geometry, for any ``velocity_fn(params, t, x)`` and for closed forms.

Everywhere, ``params`` belong to the velocity, samples ``x0`` (n, *event) are after the WT map, and
``key`` is the key of random draws.
"""

from wtflow_jax.geometry.centripetal import mean_velocity as mean_velocity
from wtflow_jax.geometry.empirical import empirical_velocity as empirical_velocity
from wtflow_jax.geometry.empirical import posterior_mean as posterior_mean
from wtflow_jax.geometry.field_error import field_error as field_error
from wtflow_jax.geometry.gaussian import Gaussian as Gaussian
from wtflow_jax.geometry.gaussian import gaussian_velocity as gaussian_velocity
from wtflow_jax.geometry.lipschitz import lipschitz_bound as lipschitz_bound
from wtflow_jax.geometry.lipschitz import lipschitz_profile as lipschitz_profile
from wtflow_jax.geometry.ot_angle import optimal_displacement as optimal_displacement
from wtflow_jax.geometry.ot_angle import ot_angle as ot_angle
from wtflow_jax.geometry.radial import Radii as Radii
from wtflow_jax.geometry.radial import radial_profile as radial_profile
