"""Training: AdamW on the rFM loss, features resident on the device (Sec. V-A)."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from wtflow_jax import loss, paths, targets
from wtflow_jax.compilation import XLA_OPTIONS
from wtflow_jax.types import Params, PRNGKey, Samples, VelocityFn

Order = Int[np.ndarray, "steps batch"]
Advance: TypeAlias = Callable[[int, float], None]
"""Told of progress: ``advance(steps taken, loss so far in the epoch)``."""


def silent(steps: int, loss: float) -> None:
    """Tell nobody."""


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
    """

    velocity_fn: VelocityFn
    target: targets.Target = targets.gaussian
    time_law: paths.TimeLaw = paths.uniform_time
    weight_decay: float = 0.1

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """AdamW before its learning rate, which is an argument of each step."""
        return optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(self.weight_decay))


class Epoch(NamedTuple):
    """The outcome of one epoch.

    Attributes:
        number: counted from 1.
        state: the state after it. The next epoch reuses its memory: be done with it before.
        loss: mean training loss (Table X's scale).
        seconds: wall-clock time, compilation included.
    """

    number: int
    state: TrainState
    loss: float
    seconds: float


def init_state(objective: Objective, params: Params) -> TrainState:
    """Return the state before the first step."""
    return TrainState(params, objective.optimizer.init(params))


def learning_rate(epoch: int, epochs: int, initial: float, decay_at: tuple[float, ...]) -> float:
    """Return the step schedule's value: × 0.1 at each fraction of the run that has passed.

    Args:
        epoch: counted from 0.
        epochs: length of the run.
        initial: the first value (Sec. V-A: 2e-4).
        decay_at: fractions of the run; (0.25, 0.5, 0.75) is the paper's "every 25 of 100 epochs".
    """
    return initial * 0.1 ** sum(epoch >= fraction * epochs for fraction in decay_at)


def epoch_order(seed: int, epoch: int, samples: int, batch_size: int) -> Order:
    """Return an epoch's sample indices, a row a step.

    Every sample comes once; the last batch is filled up from the start of the same order. A batch
    of more samples than there are is one of all.

    Args:
        seed: of the run.
        epoch: counted from 0.
        samples: size of the training set, at least 1.
        batch_size: samples a step, at most.

    Returns:
        int32 (steps, batch).
    """
    batch_size = min(batch_size, samples)
    steps = -(-samples // batch_size)
    order = np.random.default_rng((seed, epoch)).permutation(samples).astype(np.int32)
    return np.resize(order, (steps, batch_size))


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
            params,
            x0,
            key,
            index=index,
            target=objective.target,
            time_law=objective.time_law,
        )

    value, gradient = jax.value_and_grad(batch_loss)(state.params)
    updates, moments = objective.optimizer.update(gradient, state.moments, state.params)
    updates = jax.tree.map(lambda update: -rate * update, updates)
    return TrainState(optax.apply_updates(state.params, updates), moments), value


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
) -> tuple[TrainState, Float[Array, ""]]:
    """Take the steps ``first`` to ``last`` − 1 of an epoch without leaving the device.

    ``step`` in a loop whose bounds are arguments: one compilation serves every length.

    Returns:
        The state after them, and the sum of their losses.
    """

    def body(
        i: Int[Array, ""], carry: tuple[TrainState, Float[Array, ""]]
    ) -> tuple[TrainState, Float[Array, ""]]:
        state, total = carry
        state, value = _step(objective, state, features[order[i]], order[i], key, rate)
        return state, total + value

    return jax.lax.fori_loop(first, last, body, (state, jnp.zeros(())))


def train(
    objective: Objective,
    state: TrainState,
    features: Samples,
    *,
    key: PRNGKey,
    seed: int,
    epochs: int,
    batch_size: int,
    initial_rate: float,
    decay_at: tuple[float, ...],
    first_epoch: int = 0,
    on_device: bool | None = None,
    advance: Advance = silent,
) -> Iterator[Epoch]:
    """Train epoch by epoch, lazily.

    A sample's noise is ``fold_in(key, epoch, sample index)`` and an epoch's order depends on
    ``(seed, epoch)``, so a run continued at ``first_epoch`` equals an uninterrupted one.

    Args:
        objective: what is trained.
        state: before the first epoch; donated.
        features: x0 (n, *event) after the WT map, on the device.
        key: decides the noise.
        seed: decides the order.
        epochs: length of the whole run.
        batch_size: samples a step, at most.
        initial_rate: learning rate before the first decay.
        decay_at: fractions of the run at which it is divided by ten.
        first_epoch: how many epochs ``state`` has behind it.
        on_device: whether several steps run as one compiled loop; by default not on CPU, where XLA
            runs the gradients of convolutions inside a loop about twenty times slower.
        advance: called with (steps taken, loss so far in the epoch).

    Yields:
        An ``Epoch`` each.
    """
    on_device = jax.default_backend() != "cpu" if on_device is None else on_device
    # Doubled while a full call stays under a second: signals are heard between calls.
    length = 1
    for epoch in range(first_epoch, epochs):
        start = time.perf_counter()
        order = epoch_order(seed, epoch, features.shape[0], batch_size)
        epoch_key = jax.random.fold_in(key, epoch)
        rate = jnp.float32(learning_rate(epoch, epochs, initial_rate, decay_at))
        total, done = 0.0, 0
        while done < len(order):
            call = time.perf_counter()
            last = min(done + length, len(order))
            if on_device:
                bounds = jnp.int32(done), jnp.int32(last)
                state, value = steps(
                    objective, state, features, jnp.asarray(order), *bounds, epoch_key, rate
                )
            else:
                index = jnp.asarray(order[done])
                state, value = step(objective, state, features[index], index, epoch_key, rate)
            total, taken, done = total + float(value), last - done, last
            advance(taken, total / done)
            if on_device and taken == length and time.perf_counter() - call < 1:
                length *= 2
        yield Epoch(epoch + 1, state, total / len(order), time.perf_counter() - start)
