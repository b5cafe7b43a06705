"""A velocity on feature maps with nothing to train: the exact field of Gaussian features.

Each position of x0 is assumed Gaussian, with the covariance that ``whiten`` would fit to it.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from wtflow_jax.flow.maps import WTMap
from wtflow_jax.flow.maps.whitening import Whiten
from wtflow_jax.flow.types import Params, PRNGKey, Sample, Time, VelocityFn
from wtflow_jax.geometry.gaussian import Gaussian, gaussian_velocity, of_whitening
from wtflow_jax.velocities import VELOCITIES, Shaped, Velocity


def _field(law: Params, t: Time, x: Sample) -> Sample:
    return gaussian_velocity(Gaussian(**law), t, x)


@dataclass(frozen=True)
class LowRank(Velocity):
    """Options of Gaussian fields."""

    shrinkage: float = 0.1
    """Weight of the covariance that all Gaussians share, against each Gaussian's own."""
    directions: int = 64
    """Principal directions kept of each Gaussian's own covariance."""

    trained = False
    reads_x0 = True
    any_target = False
    RANGES: ClassVar = {"shrinkage": (1e-6, 1), "directions": (1, None)}

    def portable(self) -> VelocityFn | None:
        """Return None: converters do not support the Cholesky factor."""
        return None

    def usual(self, wt: WTMap) -> dict[str, Any]:
        """Return one residual step if x0 is white already, else 20 steps for localization."""
        one_step = {"start": 0.5, "residual": True, "steps_det": 1}
        return one_step if wt.isotropic else {"steps_loc": 20}


@VELOCITIES.add("gaussian")
@dataclass(frozen=True)
class GaussianField(LowRank):
    """The exact field of one Gaussian per position."""

    def velocity_fn(self) -> VelocityFn:
        """Return the field; its parameters are the arrays of a ``geometry.Gaussian``, by name."""
        return _field

    def init(self, key: PRNGKey, x0: Shaped) -> Params:
        """Return the law of maps x0 (n, h, w, c), n ≥ 2."""
        return of_whitening(Whiten(self.shrinkage, self.directions).fit(x0))._asdict()
