"""Transport dx/dt = v(x, t) from data (t = 0) to target (t = 1), solved by Diffrax.

Parameters travel through Diffrax's ``args``, so one compiled solve serves every set of parameters.
A ``velocity_fn`` must be one object, not a fresh closure a call: it is the key of that compilation.
"""

from functools import partial

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from wtflow_jax.types import Params, Sample, Samples, VelocityFn

SOLVERS: dict[str, type[diffrax.AbstractSolver]] = {
    "euler": diffrax.Euler,
    "heun": diffrax.Heun,
    "midpoint": diffrax.Midpoint,
    "tsit5": diffrax.Tsit5,
    "dopri5": diffrax.Dopri5,
}
"""By name; orders 1, 2, 2, 5 and 5. One Euler step is one network evaluation."""


def _solve(
    velocity_fn: VelocityFn,
    params: Params,
    x0: Sample,
    steps: int,
    solver: str,
    save: diffrax.SaveAt,
    start: float | Array = 0.0,
) -> Float[Array, "k *event"]:
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, x, args: velocity_fn(args, jnp.asarray(t), x)),
        SOLVERS[solver](),
        t0=start,
        t1=1.0,
        dt0=None,
        y0=(1 - jnp.asarray(start)) * x0,
        args=params,
        saveat=save,
        # Adding up 1 / steps in float32 may fall short of 1 and cost a step more.
        stepsize_controller=diffrax.StepTo(jnp.linspace(start, 1.0, steps + 1)),
        max_steps=steps,
    )
    assert solution.ys is not None
    return solution.ys


@partial(jax.jit, static_argnames=("velocity_fn", "steps", "solver"))
def push_forward(
    velocity_fn: VelocityFn,
    params: Params,
    x0: Samples,
    *,
    steps: int = 1,
    solver: str = "euler",
    start: float | Array = 0.0,
) -> Samples:
    """Carry samples from t = 0 to t = 1 in equal steps (Algorithm 1, sampling).

    With a later start T it is (1 − T)·x0 that is carried, from t = T on. One Euler step then ends
    at (1 − T)·(x0 + v((1 − T)·x0, T)).

    Args:
        velocity_fn: ``velocity_fn(params, t, x) -> v`` for one sample.
        params: its parameters.
        x0: samples (n, *event) after the WT map.
        steps: number of equal steps; the paper takes 20 for detection, 1 for localization.
        solver: a name in ``SOLVERS``.
        start: T in [0, 1).

    Returns:
        The endpoints x̂1 (n, *event).
    """
    save = diffrax.SaveAt(t1=True)
    return jax.vmap(lambda x: _solve(velocity_fn, params, x, steps, solver, save, start)[0])(x0)


@partial(jax.jit, static_argnames=("velocity_fn", "steps", "solver"))
def trajectory(
    velocity_fn: VelocityFn, params: Params, x0: Samples, *, steps: int = 50, solver: str = "euler"
) -> Float[Array, "n k *event"]:
    """Return every position on the way, t = 0, 1/steps, …, 1 (suppl. Tables XII to XIV).

    Args:
        velocity_fn: ``velocity_fn(params, t, x) -> v`` for one sample.
        params: its parameters.
        x0: samples (n, *event) after the WT map.
        steps: number of equal steps.
        solver: a name in ``SOLVERS``.

    Returns:
        Positions (n, steps + 1, *event), the first of them x0.
    """
    save = diffrax.SaveAt(t0=True, steps=True)
    return jax.vmap(lambda x: _solve(velocity_fn, params, x, steps, solver, save))(x0)
