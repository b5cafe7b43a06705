"""How far from the origin samples are on the way (Observations 1, 2; suppl. Tables XII-XIV)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from wtflow_jax.flow import ode
from wtflow_jax.flow.types import Params, Sample, Samples, VelocityFn
from wtflow_jax.support.compilation import jit


class Radii(NamedTuple):
    """How far from the origin some images are on their way."""

    of: Int[np.ndarray, " m"]  #: their indices
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
    """Return ‖x_t‖ of each sample at equal Euler steps from t = 0, or a later start, to 1.

    Arguments as in ``ode.push_forward``. Positions are not kept, so memory does not grow with the
    steps; the paper takes 50. Returned are (n, steps + 1); the Gaussian annulus is at √D.
    """

    def one(x: Sample) -> Float[Array, " k"]:
        how = {"steps": steps, "t_start": t_start, "statistic": jnp.linalg.norm}
        return ode.trajectory(velocity_fn, params, x[None], **how)[0]

    return jax.lax.map(one, x0, batch_size=16)
