"""Transport dx/dt = v(x, t) from data (t = 0) to target (t = 1), solved by Diffrax.

Parameters travel through Diffrax's ``args``, so one compiled solve serves every set of parameters.
Pass the same ``velocity_fn`` object each time, not a new closure: it is the key of the compilation.
A one-line WTFlowError is raised for ``params`` or ``x0`` that are not arrays, other arguments
that are not hashable, an unknown solver, or fewer than one step.

Arguments that ``push_forward`` documents mean the same in the other functions.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from wtflow_jax.flow.types import Params, PRNGKey, Sample, Samples, Time, VelocityFn
from wtflow_jax.support.compilation import jit
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.parts import Parts


class Method(NamedTuple):
    """A solver of dx/dt = v, and its cost."""

    method: diffrax.AbstractSolver
    first: int  #: evaluations of the velocity at the start
    each: int  #: evaluations per step


Solver: TypeAlias = Any
"""A ``Method``, a frozen dataclass of options with its attributes, or a name in ``SOLVERS``;
hashable."""

SOLVERS: Parts[Solver] = Parts("solver", "wtflow_jax.flow")
"""Solvers by name, sorted by order (1, 2, 2, 2, 3, 5, 5, 8): Diffrax's explicit one-term ones, but
for ``ReversibleHeun``: it is unstable where a field contracts. An Euler step is one evaluation."""
EULER = SOLVERS.add("euler")(Method(diffrax.Euler(), 0, 1))
HEUN = SOLVERS.add("heun")(Method(diffrax.Heun(), 0, 2))
MIDPOINT = SOLVERS.add("midpoint")(Method(diffrax.Midpoint(), 0, 2))
RALSTON = SOLVERS.add("ralston")(Method(diffrax.Ralston(), 0, 2))
BOSH3 = SOLVERS.add("bosh3")(Method(diffrax.Bosh3(), 1, 3))
TSIT5 = SOLVERS.add("tsit5")(Method(diffrax.Tsit5(), 1, 6))
DOPRI5 = SOLVERS.add("dopri5")(Method(diffrax.Dopri5(), 1, 6))
DOPRI8 = SOLVERS.add("dopri8")(Method(diffrax.Dopri8(), 1, 13))

Adjoint: TypeAlias = Any
"""A hashable ``diffrax.AbstractAdjoint``, or a name in ``ADJOINTS``."""

ADJOINTS: Parts[Adjoint] = Parts("adjoint", "wtflow_jax.flow")
"""How a solve is differentiated, by name. ``checkpoints``: reverse mode, little memory.
``direct``: any mode and order, much memory. ``forward``: forward mode only, no extra memory."""
CHECKPOINTS = ADJOINTS.add("checkpoints")(diffrax.RecursiveCheckpointAdjoint())
ADJOINTS.add("direct")(diffrax.DirectAdjoint())
ADJOINTS.add("forward")(diffrax.ForwardMode())

MAX_STEPS = 4096
FIRST_STEP = 0.01
"""First step of an adaptive solve."""

State: TypeAlias = Float[Array, "*state"]
"""The solver's state: a batch of samples for equal steps, which share their times; else one sample,
or one vector of its elements and the change of its log-density."""


class _StepTo(diffrax.StepTo):
    """Fixed steps without Diffrax's check of them, which is a callback to the host.

    Neither JAX's compilation cache nor ``jax.export`` accepts a program with callbacks.
    """

    def wrap(self, direction: Any) -> "_StepTo":
        return self

    def init(self, *arguments: Any, **named: Any) -> Any:
        return self.ts[1], 2


def _given(solver: Solver) -> Solver:
    """Return a solver, given itself or its name; raise WTFlowError if it is invalid."""
    found = SOLVERS.given(solver)
    if not isinstance(getattr(found, "method", None), diffrax.AbstractSolver):
        raise WTFlowError(
            f"solver {found}: give one of {', '.join(SOLVERS)}, or an ode.Method of a solver "
            "of Diffrax"
        )
    return found


def _equal(steps: int, t_start: float | Array, backwards: bool = False) -> dict[str, Any]:
    """Return Diffrax's options for equal steps."""
    if steps < 1 or steps % 1:
        raise WTFlowError(f"steps {steps}: give at least 1, a whole number")
    # A float32 sum of 1 / steps may fall short of 1 and cost one more step.
    ends = (-1.0, -jnp.asarray(t_start)) if backwards else (t_start, 1.0)
    controller = _StepTo(jnp.linspace(*ends, steps + 1))
    return {"dt0": None, "stepsize_controller": controller, "max_steps": steps}


def _solve(
    field: Callable[[Params, Time, State], State],
    params: Params,
    y0: State,
    solver: Solver,
    t_start: float | Array,
    adjoint: Adjoint = CHECKPOINTS,
    backwards: bool = False,
    **options: Any,
) -> Any:
    """Return Diffrax's solution from (1 − T)·y0 at T to t = 1, or from y0 at t = 1 back to T."""
    return diffrax.diffeqsolve(
        # Diffrax calls the field at several places; this jit traces it only once.
        diffrax.ODETerm(jax.jit(lambda t, y, params: field(params, jnp.asarray(t), y))),
        _given(solver).method,
        t0=1.0 if backwards else t_start,
        t1=t_start if backwards else 1.0,
        y0=y0 if backwards else (1 - jnp.asarray(t_start)) * y0,
        args=params,
        adjoint=ADJOINTS.given(adjoint),
        # Equal steps do not fail, and raising needs a callback to the host.
        throw=False,
        **options,
    )


@jit("velocity_fn", "steps", "solver", "adjoint")
def push_forward(
    velocity_fn: VelocityFn,
    params: Params,
    x0: Samples,
    *,
    steps: int = 1,
    solver: Solver = EULER,
    t_start: float | Array = 0.0,
    adjoint: Adjoint = CHECKPOINTS,
) -> Samples:
    """Carry samples from t = 0 to t = 1 in equal steps (Algorithm 1, sampling).

    With a start T > 0, (1 − T)·x0 is carried from t = T. One Euler step then ends at
    (1 − T)·(x0 + v((1 − T)·x0, T)).

    Args:
        velocity_fn: ``velocity_fn(params, t, x) -> v`` for one sample.
        params: its parameters.
        x0: samples (n, *event) after the WT map.
        steps: number of equal steps; the paper takes 20 for detection, 1 for localization.
        solver: one of ``SOLVERS``, or its name.
        t_start: T in [0, 1).
        adjoint: one of ``ADJOINTS``, or its name: how the endpoints are differentiated.

    Returns:
        The endpoints x̂1 (n, *event).
    """
    field, options = jax.vmap(velocity_fn, (None, None, 0)), _equal(steps, t_start)
    return _solve(field, params, x0, solver, t_start, adjoint, **options).ys[0]


@jit("velocity_fn", "steps", "solver")
def pull_back(
    velocity_fn: VelocityFn,
    params: Params,
    x1: Samples,
    *,
    steps: int = 20,
    solver: Solver = EULER,
    t_start: float | Array = 0.0,
) -> Samples:
    """Carry samples from t = 1 back to T in equal steps: the inverse of ``push_forward``.

    It generates samples from noise: the exact field carries x1 ~ N(0, I) to the law of x0.

    Args:
        velocity_fn: as in ``push_forward``, like all other arguments except ``x1``.
        x1: endpoints (n, *event).

    Returns:
        Samples x0 = x_T/(1 − T), (n, *event). ``push_forward`` carries them to x1 up to the
        solver's error.
    """
    field = jax.vmap(velocity_fn, (None, None, 0))
    options = _equal(steps, t_start, backwards=True)
    found = _solve(field, params, x1, solver, t_start, backwards=True, **options).ys[0]
    return found / (1 - jnp.asarray(t_start))


@jit("velocity_fn", "solver")
def push_forward_adaptive(
    velocity_fn: VelocityFn,
    params: Params,
    x0: Samples,
    *,
    tolerance: float | Array,
    solver: Solver = DOPRI5,
    t_start: float | Array = 0.0,
) -> tuple[Samples, Int[Array, " n"]]:
    """Carry samples from t = 0 to t = 1 in adaptive steps, chosen for each sample by itself.

    Args:
        velocity_fn: as in ``push_forward``, like ``params``, ``x0`` and ``t_start``.
        tolerance: relative and absolute, for the error per step (root mean square of elements).
        solver: one with an error estimate: all except ``EULER``.

    Returns:
        Endpoints (n, *event), NaN if ``MAX_STEPS`` were too few; and evaluations of the velocity,
        rejected steps included, (n,) int32.
    """
    solver = _given(solver)
    controller = diffrax.PIDController(rtol=tolerance, atol=tolerance)
    options = {"dt0": FIRST_STEP, "max_steps": MAX_STEPS, "stepsize_controller": controller}

    def one(x: Sample) -> tuple[Sample, Array]:
        solution = _solve(velocity_fn, params, x, solver, t_start, **options)
        reached = solution.result == diffrax.RESULTS.successful
        evaluations = solver.first + solver.each * solution.stats["num_steps"]
        return jnp.where(reached, solution.ys[0], jnp.nan), evaluations

    return jax.vmap(one)(x0)


@jit("velocity_fn", "steps", "solver", "statistic")
def trajectory(
    velocity_fn: VelocityFn,
    params: Params,
    x0: Samples,
    *,
    steps: int = 50,
    solver: Solver = EULER,
    t_start: float | Array = 0.0,
    statistic: Callable[[Sample], Array] | None = None,
) -> Float[Array, "n k *kept"]:
    """Return the position at every one of the equal steps (suppl. Tables XII to XIV).

    Args:
        velocity_fn: as in ``push_forward``, like all other arguments except ``statistic``.
        statistic: a function of one position; its value is kept instead of the position.

    Returns:
        Positions (n, steps + 1, *event), the first at t = T, or their statistics.
    """
    keep = jax.vmap(statistic or (lambda x: x))
    save = diffrax.SaveAt(t0=True, steps=True, fn=lambda t, x, args: keep(x))
    field, options = jax.vmap(velocity_fn, (None, None, 0)), _equal(steps, t_start)
    kept = _solve(field, params, x0, solver, t_start, saveat=save, **options).ys
    return jnp.swapaxes(kept, 0, 1)


@jit("velocity_fn", "steps", "solver", "probes", "adjoint")
def log_likelihood(
    velocity_fn: VelocityFn,
    params: Params,
    x0: Samples,
    key: PRNGKey | None = None,
    *,
    steps: int = 50,
    solver: Solver = HEUN,
    probes: int = 1,
    t_start: float | Array = 0.0,
    adjoint: Adjoint = CHECKPOINTS,
) -> Float[Array, " n"]:
    """Return log p(x0) by the change of variables along the flow, the likelihood Eq. 2 replaces.

    log p_T(x_T) = log N(x̂1; 0, I) + ∫ ∇·v(x_t, t) dt over [T, 1], with x_T = (1 − T)·x0; the
    target is assumed Gaussian. If the field is singular at t = 0, there is no density there (a
    finite data set is a sum of points): start later.

    Args:
        velocity_fn: as in ``push_forward``, like all other arguments except these two.
        key: if given, the divergence is Hutchinson's estimate; its Rademacher probes stay the same
            along a trajectory. If left out, it is exact, at D products with the Jacobian.
        probes: number of probes per sample.

    Returns:
        Nats (n,).
    """
    if probes < 1:
        raise WTFlowError(f"probes {probes}: give at least 1")

    def one(x: Sample, directions: Float[Array, " p *event"], weight: float) -> Float[Array, ""]:
        def field(params: Params, t: Time, y: State) -> State:
            at = y[:-1].reshape(x.shape)
            v, push = jax.linearize(lambda x: velocity_fn(params, t, x), at)
            products = jax.vmap(lambda e: jnp.sum(e * push(e)))(directions.astype(at.dtype))
            return jnp.append(v, weight * jnp.sum(products))

        # One vector: with two outputs, if ``vmap`` maps only one (the divergence may not depend on
        # x), the gradient is wrong. JAX counts that of the other output once per sample.
        y0, options = jnp.pad(x.ravel(), (0, 1)), _equal(steps, t_start)
        end = _solve(field, params, y0, solver, t_start, adjoint, **options).ys[0]
        gaussian = -0.5 * jnp.sum(jnp.square(end[:-1])) - 0.5 * x.size * jnp.log(2 * jnp.pi)
        return gaussian + end[-1]

    if key is None:
        d = math.prod(x0.shape[1:])
        units = jnp.eye(d).reshape(d, *x0.shape[1:])
        return jax.vmap(lambda x: one(x, units, 1.0))(x0)

    def estimated(x: Sample, key: PRNGKey) -> Float[Array, ""]:
        return one(x, jax.random.rademacher(key, (probes, *x.shape), x.dtype), 1 / probes)

    return jax.vmap(estimated)(x0, jax.random.split(key, x0.shape[0]))
