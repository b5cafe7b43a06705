"""The state of training and one step of it: AdamW on the rFM loss (Algorithm 1, lines 3 to 6)."""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from wtflow_jax.flow import couplings, paths, targets
from wtflow_jax.flow import loss as losses
from wtflow_jax.flow.types import Params, PRNGKey, Samples, VelocityFn
from wtflow_jax.support.compilation import XLA_OPTIONS
from wtflow_jax.support.kernels import formats, laid_out
from wtflow_jax.training import sharding
from wtflow_jax.velocities.network import matrices, remainders, restored, with_matrices


class TrainState(NamedTuple):
    """All that a step changes."""

    params: Params
    moments: optax.OptState


class Objective(NamedTuple):
    """The velocity to train, its loss and its optimizer; hashable, the static argument of a step.

    Attributes:
        velocity_fn: ``velocity_fn(params, t, x) -> v``; one object for the whole run.
        target: the distribution of x1.
        time_law: the distribution of t.
        loss: the loss of one sample.
        coupling: how the x0 and x1 of the batch are paired.
        rate: AdamW's initial learning rate.
        decay_at: steps at each of which the rate is divided by ten.
        weight_decay: AdamW's decoupled decay, on every parameter.
        precision: of the matrices and kernels that velocity_fn gets; the state stays float32.
        layout: the devices.
    """

    velocity_fn: VelocityFn
    target: targets.Target = targets.gaussian
    time_law: paths.TimeLaw = paths.uniform_time
    loss: losses.Loss = losses.rfm
    coupling: couplings.Coupling = couplings.independent
    rate: float = 3e-3
    decay_at: tuple[int, ...] = ()
    weight_decay: float = 0.1
    precision: str = "float32"
    layout: sharding.Layout = sharding.LOCAL

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """AdamW with its schedule of learning rates."""
        rates = [self.rate * 0.1**i for i in range(len(self.decay_at) + 1)]
        schedule = optax.join_schedules([*map(optax.constant_schedule, rates)], [*self.decay_at])
        return optax.adamw(schedule, weight_decay=self.weight_decay)


@partial(jax.jit, static_argnums=0)
def init_state(objective: Objective, params: Params) -> TrainState:
    """Return the state before the first step."""
    return objective.layout.keep(TrainState(params, objective.optimizer.init(params)))


def _step(
    objective: Objective,
    state: TrainState,
    x0: Samples,
    index: Int[Array, " b"],
    key: PRNGKey,
    rounded: Params | None = None,
) -> tuple[TrainState, Float[Array, ""]]:
    """Take one optimizer step; return the new state and the loss. Pure; ``state`` is donated.

    x0 is the batch (b, *event), after the WT map. ``index`` (b,) are the samples' indices in the
    training set; with the epoch's key they decide the noise. ``rounded`` are the ``matrices`` of
    the state's parameters, if they are already computed.
    """
    if rounded is None:
        rounded = matrices(state.params, objective.precision)
    layout = objective.layout
    laws = {name: getattr(objective, name) for name in ("target", "time_law", "loss", "coupling")}

    def batch_loss(params: Params) -> Float[Array, ""]:
        field = objective.velocity_fn, layout.gather(layout.keep(params))
        x, i = layout.split(x0), layout.split(index)
        return losses.rfm_loss(*field, x, key, index=i, **laws)

    value, gradient = jax.value_and_grad(batch_loss)(with_matrices(state.params, rounded))
    gradient = jax.tree.map(lambda g, p: g.astype(p.dtype), gradient, state.params)
    updates, moments = objective.optimizer.update(gradient, state.moments, state.params)
    return layout.keep(TrainState(optax.apply_updates(state.params, updates), moments)), value


_jit = partial(jax.jit, static_argnums=0, donate_argnums=1, compiler_options=XLA_OPTIONS)
# JAX refuses options on a jit within a jit, so ``_loop`` calls ``_step`` without jit.
step = _jit(_step)


def _loop(
    objective: Objective,
    state: TrainState,
    x0: Samples,
    order: Int[Array, "steps b"],
    first: Int[Array, ""],
    last: Int[Array, ""],
    key: PRNGKey,
) -> tuple[TrainState, Float[Array, " steps"]]:
    """Take the steps ``first`` to ``last`` − 1 on the device; one compilation for any bounds."""

    # Parameters are carried as rounded matrices and remainders, which saves one copy per step.
    def halves(state: TrainState) -> tuple[Params, Params, optax.OptState]:
        rounded = matrices(state.params, objective.precision)
        return rounded, remainders(state.params, rounded), state.moments

    def whole(rounded: Params, rest: Params, moments: optax.OptState) -> TrainState:
        return TrainState(restored(rounded, rest), moments)

    def body(i: Array, carry: tuple[Any, Array]) -> tuple[Any, Array]:
        (rounded, *_), values = carry
        state = whole(*carry[0])
        state, value = _step(objective, state, x0[order[i]], order[i], key, rounded)
        return halves(state), values.at[i].set(value)

    carry, values = jax.lax.fori_loop(first, last, body, (halves(state), jnp.zeros(len(order))))
    return whole(*carry), values


@lru_cache
def _compiled(function: Callable[..., Any], tree: Any, kept: tuple[Any, ...]) -> Any:
    return _jit(function, out_shardings=(tree.unflatten(kept), None))


def program(function: Callable[..., Any], state: Any) -> Any:
    """Return ``_step`` or ``_loop`` jitted for a state, whose memory layout it keeps.

    By default XLA returns kernels in Flax's order, and copies the whole state in and out.
    """
    kept, tree = jax.tree.flatten(formats(state))
    return _compiled(function, tree, tuple(kept))


Order: TypeAlias = Int[np.ndarray, "steps batch"]
"""An epoch's sample indices, one row per step."""
Steps: TypeAlias = Iterator[tuple[TrainState, list[float]]]
"""The state after some steps, and their losses."""

LENGTH = 16
"""Maximum steps of one compiled loop: signals are handled between two loops."""

_take = jax.jit(lambda x0, index: x0[index])


def steps(
    objective: Objective, state: TrainState, x0: Samples, order: Order, key: PRNGKey, first: int = 0
) -> Steps:
    """Take the steps of an epoch from step ``first`` on; ``state`` is donated.

    On accelerators several steps run as one compiled loop. On CPU the loop is Python's: XLA runs
    the gradients of convolutions inside a compiled loop about twenty times slower.

    x0 are all training samples (n, *event), after the WT map; order and key are the epoch's.
    """
    if jax.default_backend() == "cpu":
        batches = (_take(x0, index) for index in order[first:])
        yield from steps_of_batches(objective, state, batches, order[first:], key)
        return
    state = laid_out(state, objective.precision, donate=True)
    loop = program(_loop, state)
    for start in range(first, len(order), LENGTH):
        end = min(start + LENGTH, len(order))
        state, values = loop(objective, state, x0, order, np.int32(start), np.int32(end), key)
        yield state, np.asarray(values)[start:end].tolist()


def steps_of_batches(
    objective: Objective, state: TrainState, batches: Iterator[Samples], order: Order, key: PRNGKey
) -> Steps:
    """Take one step per batch x0 (b, *event); the rows of ``order`` are the batches' indices."""
    state = laid_out(state, objective.precision, donate=True)
    take = step if jax.default_backend() == "cpu" else program(_step, state)
    for index, batch in zip(order, batches, strict=True):
        state, value = take(objective, state, batch, index, key)
        yield state, [float(value)]
