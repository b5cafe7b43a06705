"""How far from the origin samples are on the way (Observations 1, 2; suppl. Tables XII-XIV)."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from wtflow_jax.flow import ode
from wtflow_jax.flow.types import Params, Sample, Samples, VelocityFn

BATCH = 16


class Radii(NamedTuple):
    """How far from the origin some images are on their way."""

    of: Int[np.ndarray, " m"]  #: their indices
    values: Float[np.ndarray, "m k"]  #: ‖x_t‖ at equal steps from ``t_start`` to 1
    t_start: float  #: T, where transport starts
    root_d: float  #: √D, the radius of the Gaussian annulus


def _norm(x: Sample) -> Float[Array, ""]:
    return jnp.sqrt(jnp.sum(jnp.square(x)))


@partial(jax.jit, static_argnames=("velocity_fn", "steps", "solver"))
def radial_profile(
    velocity_fn: VelocityFn,
    params: Params,
    x0: Samples,
    *,
    steps: int = 50,
    solver: ode.Solver = ode.EULER,
    t_start: float | Array = 0.0,
) -> Float[Array, "n k"]:
    """Return ‖x_t‖ of each sample at equal steps from t = 0, or a later start, to 1.

    Arguments as in ``ode.push_forward``. Positions are not kept, so memory does not grow with the
    steps; the paper takes 50. Returned are (n, steps + 1); the Gaussian annulus is at √D.
    """

    def one(x: Sample) -> Float[Array, " k"]:
        options = {"steps": steps, "solver": solver, "t_start": t_start, "statistic": _norm}
        return ode.trajectory(velocity_fn, params, x[None], **options)[0]

    return jax.lax.map(one, x0, batch_size=BATCH)
