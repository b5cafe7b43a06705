"""How far from the origin samples are on the way (Observations 1, 2; suppl. Tables XII-XIV)."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from wtflow_jax import ode
from wtflow_jax.types import Params, Sample, Samples, VelocityFn

BATCH = 16


def _norm(x: Sample) -> Float[Array, ""]:
    return jnp.sqrt(jnp.sum(jnp.square(x)))


@partial(jax.jit, static_argnames=("velocity_fn", "steps", "solver"))
def radial_profile(
    velocity_fn: VelocityFn, params: Params, x0: Samples, *, steps: int = 50, solver: str = "euler"
) -> Float[Array, "n k"]:
    """Return ‖x_t‖ at t = 0, 1/steps, …, 1 of each sample.

    Positions are not kept, so memory does not grow with the steps. Means, bands and the split into
    good and defective are the caller's to take, over the first axis.

    Args:
        velocity_fn: ``velocity_fn(params, t, x) -> v`` for one sample.
        params: its parameters.
        x0: samples (n, *event), after the WT map.
        steps: number of equal steps; the paper takes 50.
        solver: a name in ``ode.SOLVERS``.

    Returns:
        (n, steps + 1); the Gaussian annulus is at √D.
    """

    def one(x: Sample) -> Float[Array, " k"]:
        options = {"steps": steps, "solver": solver, "statistic": _norm}
        return ode.trajectory(velocity_fn, params, x[None], **options)[0]

    return jax.lax.map(one, x0, batch_size=BATCH)
