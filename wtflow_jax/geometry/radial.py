"""Distances from the origin along the path (Observations 1, 2; suppl. Tables XII-XIV)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from wtflow_jax.flow import ode
from wtflow_jax.flow.types import Params, Sample, Samples, VelocityFn
from wtflow_jax.support.compilation import jit


class Radii(NamedTuple):
    """Distances from the origin of some images along their paths."""

    of: Int[np.ndarray, " m"]  #: indices of the images
    values: Float[np.ndarray, "m k"]  #: ‖x_t‖ at equal steps from ``t_start`` to 1
    t_start: float  #: T, where transport starts
    root_d: float  #: √D, the radius of the Gaussian annulus


@jit("velocity_fn", "steps")
def radial_profile(
    velocity_fn: VelocityFn,
    params: Params,
    x0: Samples,
    *,
    steps: int = 50,
    t_start: float | Array = 0.0,
) -> Float[Array, "n k"]:
    """Return ‖x_t‖ (n, steps + 1) of each sample at equal Euler steps from ``t_start`` to 1.

    Arguments as in ``ode.push_forward``. Positions are not kept, so memory does not grow with the
    steps. The paper takes 50 steps; the Gaussian annulus is at √D.
    """

    def one(x: Sample) -> Float[Array, " k"]:
        how = {"steps": steps, "t_start": t_start, "statistic": jnp.linalg.norm}
        return ode.trajectory(velocity_fn, params, x[None], **how)[0]

    return jax.lax.map(one, x0, batch_size=16)
