"""Algorithm 1: training and sampling, as the paper writes them.

Whoever calls ``train`` decides what happens between two steps: progress, evaluation, checkpoints
and stopping stand around the loop. Devices are the objective's.
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
    scale: float = 1.0  #: factor on x0 after it


@partial(jax.jit, static_argnames="start")
def to_x0(start: Start, stats: Stats, features: Samples) -> Samples:
    """Return x0 of features (n, *event): the WT map, before coupling (Algorithm 1, line 2)."""
    x0 = start.wt.apply(stats, power(features, start.power))
    return x0 if start.scale == 1 else start.scale * x0


Training: TypeAlias = Iterator[tuple[TrainState, Past, bool]]
"""The state after some steps, what is behind it, and whether its epoch is whole."""


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
    ``(seed, epoch)``, so a run that goes on from its ``past`` equals an uninterrupted one.

    Args:
        objective: the velocity, the laws of x1 and t, the loss, AdamW and the devices.
        state: before the next step; donated.
        start: the WT map.
        stats: of the map.
        features: of good images, f (n, h, w, c); any samples (n, *event) will do.
        seed: decides order and noise.
        epochs: length of the whole run.
        batch_size: images a step, at most.
        past: what ``state`` has behind it.

    Yields:
        After one step, or several in one compiled loop, as ``Training`` says. The next step reuses
        the state's memory: be done with it before.

    Raises:
        Diverged: a loss is not finite, or was too high for too long.
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
    """What is done at inference; hashable, a static argument."""

    start: Start
    velocity_fn: VelocityFn  #: of one feature map
    solver: ode.Solver
    steps: tuple[int, int]  #: for detection and for localization
    t_start: float  #: T in [0, 1), where transport starts
    residual: bool  #: whether the residual at T is scored
    score: scores.Score  #: of an element of the endpoint
    channels: tuple[int, ...] = ()  #: of stages that are scored apart; see ``cell_scores``
    push_forward: Callable[..., Samples] = ode.push_forward  #: or what takes the same


def sample(
    how: Sampling, params: Params, stats: Stats, features: Features
) -> tuple[scores.CellScores, scores.CellScores]:
    """Push features through the flow and score each cell (Algorithm 1, sampling; Eq. 2); pure.

    Args:
        how: what is done.
        params: of the velocity.
        stats: of the WT map.
        features: f (n, h, w, c).

    Returns:
        (n, h, w) for detection and for localization, the same where their steps are.
    """
    x0 = to_x0(how.start, stats, features)
    t_start = jnp.float32(how.t_start)
    # x0 plus the mean velocity on the way from (1 − T)·x0; T = 0 leaves the endpoint itself.
    scale = (t_start if how.residual else 1) / (1 - t_start)
    field, options = (how.velocity_fn, params), {"solver": how.solver, "t_start": t_start}

    def cells(n: int) -> scores.CellScores:
        x1 = scale * how.push_forward(*field, x0, steps=n, **options)
        return scores.cell_scores(x1, how.score, how.channels)

    found = {n: cells(n) for n in sorted(set(how.steps))}
    return found[how.steps[0]], found[how.steps[1]]
