"""Algorithm 1: training and sampling, as the paper writes them.

``train`` is an iterator: between steps its caller does progress, evaluation, checkpoints and
stopping. The devices are part of the objective.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from wtflow_jax.flow import ode, scores
from wtflow_jax.flow.maps import Stats, WTMap, power
from wtflow_jax.flow.types import Features, Params, Samples, Stored, VelocityFn
from wtflow_jax.training import schedule
from wtflow_jax.training.schedule import BEGINNING, Past
from wtflow_jax.training.state import Objective, TrainState, steps, steps_of_batches


class Start(NamedTuple):
    """How features become x0; hashable, a static argument."""

    wt: WTMap
    power: float = 1.0  #: exponent of the features before the map
    scale: float = 1.0  #: factor on x0 after the map


@partial(jax.jit, static_argnames="start")
def to_x0(start: Start, stats: Stats, features: Samples) -> Samples:
    """Apply the WT map to features (n, *event): x0 before coupling (Algorithm 1, line 2)."""
    x0 = start.wt.apply(stats, power(features, start.power))
    return x0 if start.scale == 1 else start.scale * x0


Training: TypeAlias = Iterator[tuple[TrainState, Past, bool]]
"""The state after some steps, the progress so far, and whether its epoch is complete."""


def train(
    objective: Objective,
    state: TrainState,
    start: Start,
    stats: Stats,
    features: Samples | Stored,
    *,
    seed: int,
    epochs: int,
    batch_size: int,
    past: Past = BEGINNING,
) -> Training:
    """Train a velocity (Algorithm 1, training), lazily.

    A sample's noise is ``fold_in(key, epoch, sample index)`` and an epoch's order depends on
    ``(seed, epoch)``, so a run resumed from its ``past`` equals an uninterrupted one.

    Args:
        objective: the velocity, the distributions of x1 and t, the loss, AdamW and the devices.
        state: the state before the next step; donated.
        start: the WT map, with its power and scale.
        stats: statistics of the map.
        features: features of good images, f (n, h, w, c), or any samples (n, *event).
        seed: seed of order and noise.
        epochs: length of the whole run.
        batch_size: images per step, at most.
        past: progress of the run up to ``state``.

    Yields:
        ``Training``, after one step or after several in one compiled loop. The next step reuses
        the memory of the state: finish with the state first.

    Raises:
        Diverged: a loss is not finite, or stays too high for ``schedule.PATIENCE`` epochs.
    """
    key, layout = jax.random.split(jax.random.key(seed))[1], objective.layout
    whole = features if isinstance(features, Stored) else to_x0(start, stats, features)  # line 2
    for epoch in range(len(past.losses), epochs):
        order = schedule.epoch_order(seed, epoch, features.shape[0], batch_size)
        epoch_key = jax.random.fold_in(key, epoch)
        if isinstance(whole, Stored):
            size, left = order.shape[1], order[past.steps :]
            read = whole.batches(left[:, layout.rows(size)])
            x0 = (to_x0(start, stats, layout.assemble(rows, size)) for rows in read)
            taken = steps_of_batches(objective, state, x0, left, epoch_key)
        else:
            taken = steps(objective, state, whole, order, epoch_key, past.steps)
        began = time.perf_counter()
        for state, losses in taken:  # lines 3 to 6: x1, t, x_t, ‖x1 − x0 − v(x_t, t)‖², AdamW
            past, began = past.after(losses, time.perf_counter() - began), time.perf_counter()
            yield state, past, past.steps == len(order)
        past = past.over()
        past.check()


class Sampling(NamedTuple):
    """Settings of inference; hashable, a static argument."""

    start: Start
    velocity_fn: VelocityFn  #: for one feature map
    solver: ode.Solver
    steps: tuple[int, int]  #: solver steps for detection and for localization
    t_start: float  #: T in [0, 1), where transport starts
    residual: bool  #: whether the residual at T is scored
    score: scores.Score  #: of a cell of the endpoint
    channels: tuple[int, ...] = ()  #: of each stage, if scored separately; see ``cell_scores``
    push_forward: Callable[..., Samples] = ode.push_forward  #: or a function of equal arguments


def sample(
    how: Sampling, params: Params, stats: Stats, features: Features
) -> tuple[scores.CellScores, scores.CellScores]:
    """Push features through the flow and score each cell (Algorithm 1, sampling; Eq. 2); pure.

    Args:
        how: settings of inference.
        params: parameters of the velocity.
        stats: statistics of the WT map.
        features: f (n, h, w, c).

    Returns:
        Scores (n, h, w) for detection and for localization; one array if their steps are equal.
    """
    x0 = to_x0(how.start, stats, features)
    t_start = jnp.float32(how.t_start)
    # The endpoint over 1 − T is x0 plus the mean velocity from T on; the residual is T times it.
    scale = (t_start if how.residual else 1) / (1 - t_start)
    field, options = (how.velocity_fn, params), {"solver": how.solver, "t_start": t_start}

    def cells(n: int) -> scores.CellScores:
        x1 = scale * how.push_forward(*field, x0, steps=n, **options)
        return scores.cell_scores(x1, how.score, how.channels)

    found = {n: cells(n) for n in sorted(set(how.steps))}
    return found[how.steps[0]], found[how.steps[1]]
