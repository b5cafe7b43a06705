"""No velocity: x̂1 = x0, the score of the map alone.

If x0 is white, this is the exact flow of a Gaussian, which ends at x0 (docs/method.md).
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from wtflow_jax.flow.maps import WTMap
from wtflow_jax.flow.types import Params, PRNGKey, Sample, Time, VelocityFn
from wtflow_jax.velocities import VELOCITIES, Shaped, Velocity


def _still(params: Params, t: Time, x: Sample) -> Sample:
    return jnp.zeros_like(x)


@VELOCITIES.add("none")
@dataclass(frozen=True)
class Still(Velocity):
    """The velocity that is zero everywhere."""

    trained = False

    def velocity_fn(self) -> VelocityFn:
        """Return v = 0."""
        return _still

    def init(self, key: PRNGKey, x0: Shaped) -> Params:
        """Return no parameters."""
        return ()

    def usual(self, wt: WTMap) -> dict[str, Any]:
        """Return one step; more change nothing."""
        return {"steps_det": 1}
