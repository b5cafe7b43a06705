"""Training: AdamW on the rFM loss, features resident on the device (Sec. V-A)."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from wtflow_jax.flow import loss, paths, targets
from wtflow_jax.flow.types import Params, PRNGKey, Samples, VelocityFn
from wtflow_jax.support.compilation import XLA_OPTIONS
from wtflow_jax.training import schedule, sharding

Advance: TypeAlias = Callable[[int, float], None]
"""Told of progress: ``advance(steps taken, loss so far in the epoch)``."""


def silent(steps: int, loss: float) -> None:
    """Tell nobody."""


def never() -> bool:
    """Go on."""
    return False


class TrainState(NamedTuple):
    """All that a step changes."""

    params: Params
    moments: optax.OptState


class Objective(NamedTuple):
    """What is trained and towards what; hashable, the static argument of a step.

    Attributes:
        velocity_fn: ``velocity_fn(params, t, x) -> v``; one object for the whole run.
        target: where x1 comes from.
        time_law: how t is drawn.
        weight_decay: AdamW's decoupled decay, on every parameter.
        layout: the devices.
    """

    velocity_fn: VelocityFn
    target: targets.Target = targets.gaussian
    time_law: paths.TimeLaw = paths.uniform_time
    weight_decay: float = 0.1
    layout: sharding.Layout = sharding.LOCAL

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """AdamW before its learning rate, which is an argument of each step."""
        return optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(self.weight_decay))


class Epoch(NamedTuple):
    """The outcome of one epoch.

    Attributes:
        number: counted from 1.
        state: the state after it. The next epoch reuses its memory: be done with it before.
        past: what the run has behind it, the epoch not yet over.
        whole: whether all its steps have been taken; False where it was stopped.
    """

    number: int
    state: TrainState
    past: schedule.Past
    whole: bool = True

    @property
    def loss(self) -> float:
        """Mean training loss (Table X's scale)."""
        return self.past.total / max(1, self.past.steps)

    @property
    def seconds(self) -> float:
        """Wall-clock time, compilation included."""
        return self.past.seconds


def init_state(objective: Objective, params: Params) -> TrainState:
    """Return the state before the first step."""
    return _init_state(objective, params)


@partial(jax.jit, static_argnums=0)
def _init_state(objective: Objective, params: Params) -> TrainState:
    return objective.layout.keep(TrainState(params, objective.optimizer.init(params)))


def _step(
    objective: Objective,
    state: TrainState,
    x0: Samples,
    index: Int[Array, " b"],
    key: PRNGKey,
    rate: Float[Array, ""],
) -> tuple[TrainState, Float[Array, ""]]:
    """Take one optimizer step on one batch; pure, ``state`` is donated.

    Args:
        objective: what is trained.
        state: before the step.
        x0: the batch (b, *event), after the WT map.
        index: the samples' indices in the training set (b,), which with ``key`` decide the noise.
        key: the epoch's.
        rate: learning rate.

    Returns:
        The state after it, and the batch's loss.
    """

    def batch_loss(params: Params) -> Float[Array, ""]:
        return loss.rfm_loss(
            objective.velocity_fn,
            objective.layout.gather(params),
            objective.layout.split(x0),
            key,
            index=objective.layout.split(index),
            target=objective.target,
            time_law=objective.time_law,
        )

    value, gradient = jax.value_and_grad(batch_loss)(state.params)
    updates, moments = objective.optimizer.update(gradient, state.moments, state.params)
    updates = jax.tree.map(lambda update: -rate * update, updates)
    state = TrainState(optax.apply_updates(state.params, updates), moments)
    return objective.layout.keep(state), value


# Jitted apart: options are refused on a jit within a jit, and ``steps`` loops over the bare one.
step = jax.jit(_step, static_argnums=0, donate_argnums=1, compiler_options=XLA_OPTIONS)


@partial(jax.jit, static_argnums=0, donate_argnums=1, compiler_options=XLA_OPTIONS)
def steps(
    objective: Objective,
    state: TrainState,
    features: Samples,
    order: Int[Array, "steps b"],
    first: Int[Array, ""],
    last: Int[Array, ""],
    key: PRNGKey,
    rate: Float[Array, ""],
) -> tuple[TrainState, Float[Array, " steps"]]:
    """Take the steps ``first`` to ``last`` − 1 of an epoch without leaving the device.

    ``step`` in a loop whose bounds are arguments: one compilation serves every length.

    Returns:
        The state after them, and the losses of an epoch, zero for steps that were not taken.
    """

    def body(
        i: Int[Array, ""], carry: tuple[TrainState, Float[Array, " steps"]]
    ) -> tuple[TrainState, Float[Array, " steps"]]:
        state, losses = carry
        state, value = _step(objective, state, features[order[i]], order[i], key, rate)
        return state, losses.at[i].set(value)

    return jax.lax.fori_loop(first, last, body, (state, jnp.zeros(len(order))))


class Streamed(NamedTuple):
    """Training data that do not fit on the device.

    Attributes:
        samples: how many there are.
        batches: x0 (b, *event) of each row of an epoch's order, in turn.
    """

    samples: int
    batches: Callable[[schedule.Order], Iterator[Samples]]


Steps: TypeAlias = Iterator[tuple[TrainState, list[float]]]
"""The state, and the losses of the steps since the last time."""

_take = jax.jit(lambda features, index: features[index])


def _one_by_one(
    objective: Objective,
    state: TrainState,
    batches: Iterator[Samples],
    order: schedule.Order,
    key: PRNGKey,
    rate: np.float32,
    stop: Callable[[], bool],
) -> Steps:
    # A loss is waited for when the next step is under way, so that a batch is read beside one.
    losses: deque[Array] = deque()
    for index, batch in zip(order, batches, strict=True):
        state, value = step(objective, state, batch, index, key, rate)
        losses.append(value)
        if len(losses) > 1:
            yield state, [float(losses.popleft())]
        if stop():
            break
    for value in losses:
        yield state, [float(value)]


def _in_loops(
    objective: Objective,
    state: TrainState,
    features: Samples,
    order: schedule.Order,
    first: int,
    key: PRNGKey,
    rate: np.float32,
    stop: Callable[[], bool],
) -> Steps:
    # Doubled while a full call stays under a second: signals are heard between calls.
    length = 1
    while first < len(order) and not stop():
        start = time.perf_counter()
        last = min(first + length, len(order))
        bounds = np.int32(first), np.int32(last)
        state, losses = steps(objective, state, features, order, *bounds, key, rate)
        yield state, np.asarray(losses)[first:last].tolist()
        first = last
        if time.perf_counter() - start < 1:
            length *= 2


def train(
    objective: Objective,
    state: TrainState,
    features: Samples | Streamed,
    *,
    key: PRNGKey,
    seed: int,
    epochs: int,
    batch_size: int,
    initial_rate: float,
    decay_at: tuple[float, ...],
    past: schedule.Past = schedule.BEGINNING,
    on_device: bool | None = None,
    advance: Advance = silent,
    stop: Callable[[], bool] = never,
) -> Iterator[Epoch]:
    """Train epoch by epoch, lazily.

    A sample's noise is ``fold_in(key, epoch, sample index)`` and an epoch's order depends on
    ``(seed, epoch)``, so a run that goes on from its ``past`` equals an uninterrupted one.

    Args:
        objective: what is trained.
        state: before the first epoch; donated.
        features: x0 (n, *event) after the WT map, on the device, or batches of it from elsewhere.
        key: decides the noise.
        seed: decides the order.
        epochs: length of the whole run.
        batch_size: samples a step, at most.
        initial_rate: learning rate before the first decay.
        decay_at: fractions of the run at which it is divided by ten.
        past: what ``state`` has behind it.
        on_device: whether several steps run as one compiled loop; by default not on CPU, where XLA
            runs the gradients of convolutions inside a loop about twenty times slower.
        advance: called with (steps taken, loss so far in the epoch).
        stop: asked after each step; where it says so, the epoch is the last and not whole.

    Yields:
        An ``Epoch`` each.

    Raises:
        Diverged: a loss is not finite, or was too high for too long (``schedule.Past.check``).
    """
    samples = features.samples if isinstance(features, Streamed) else features.shape[0]
    if on_device is None:
        on_device = jax.default_backend() != "cpu"
    for epoch in range(len(past.losses), epochs):
        start = time.perf_counter()
        order = schedule.epoch_order(seed, epoch, samples, batch_size)
        left = order[past.steps :]
        epoch_key = jax.random.fold_in(key, epoch)
        rate = np.float32(schedule.learning_rate(epoch, epochs, initial_rate, decay_at))
        taken: Steps = iter(())
        if not len(left):
            pass
        elif isinstance(features, Streamed):
            batches = features.batches(left)
            taken = _one_by_one(objective, state, batches, left, epoch_key, rate, stop)
        elif on_device:
            at = past.steps
            taken = _in_loops(objective, state, features, order, at, epoch_key, rate, stop)
        else:
            each = (_take(features, index) for index in left)
            taken = _one_by_one(objective, state, each, left, epoch_key, rate, stop)
        total, done, initial = past.total, past.steps, past.first
        for reached, losses in taken:
            state = reached
            # One by one: how many come at a time depends on the clock.
            for value in losses:
                total += value
                initial = value if initial == math.inf else initial
            done += len(losses)
            if not math.isfinite(total):
                raise schedule.Diverged(f"the loss is {total} in step {done} of epoch {epoch + 1}")
            advance(len(losses), total / done)
        seconds = past.seconds + time.perf_counter() - start
        past = schedule.Past(past.losses, done, total, seconds, initial)
        if done < len(order):
            yield Epoch(epoch + 1, state, past, whole=False)
            return
        past.over().check()
        yield Epoch(epoch + 1, state, past)
        past = past.over()
