"""The schedule of a run: order of samples, decay of the learning rate, and progress."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from wtflow_jax.support.errors import WTFlowError

PATIENCE = 5
"""Training has diverged after this many epochs in a row above ``MARGIN`` times the first loss."""
MARGIN = 1.1
"""Allows for the noise of one batch."""


class Diverged(WTFlowError):
    """Training has diverged; saved checkpoints are from before."""


class Past(NamedTuple):
    """The progress of a run.

    Attributes:
        losses: mean losses of the finished epochs.
        steps: steps taken in the current epoch.
        total: sum of the losses of these steps.
        seconds: duration of these steps, compilation included.
        first: loss of the run's first step; infinite before it.
    """

    losses: tuple[float, ...] = ()
    steps: int = 0
    total: float = 0.0
    seconds: float = 0.0
    first: float = math.inf

    @property
    def loss(self) -> float:
        """Mean training loss of the epoch so far (Table X's scale)."""
        return self.total / max(1, self.steps)

    @property
    def epoch(self) -> int:
        """The current epoch, counted from 1."""
        return len(self.losses) + 1

    def after(self, losses: list[float], seconds: float) -> "Past":
        """Return the progress after more steps; raise Diverged if a loss is not finite."""
        total, steps = self.total, self.steps + len(losses)
        # One by one: the number of losses per call depends on the device.
        for value in losses:
            total += value
        if not math.isfinite(total):
            raise Diverged(f"the loss is {total} in step {steps} of epoch {self.epoch}")
        first = losses[0] if self.first == math.inf else self.first
        return Past(self.losses, steps, total, self.seconds + seconds, first)

    def over(self) -> "Past":
        """Return the progress after the current epoch, all of whose steps have been taken."""
        return Past((*self.losses, self.loss), first=self.first)

    @property
    def good(self) -> bool:
        """Whether the last finished epoch, if any, had a loss up to ``MARGIN`` times the first."""
        return not self.losses or self.losses[-1] <= MARGIN * self.first

    def check(self) -> None:
        """Raise Diverged if the loss was too high (``MARGIN``) for ``PATIENCE`` epochs in a row."""
        recent = self.losses[-PATIENCE:]
        if len(recent) == PATIENCE and min(recent) > MARGIN * self.first:
            raise Diverged(
                f"the loss has been above {self.first:.3g}, that of the first step, for {PATIENCE} "
                f"epochs and is {recent[-1]:.3g} in epoch {len(self.losses)}"
            )


BEGINNING = Past()


def decay_steps(epochs: int, steps: int, fractions: tuple[float, ...]) -> tuple[int, ...]:
    """Return the steps at which the learning rate is divided by ten, ascending.

    The fractions (0.25, 0.5, 0.75) of a run are the paper's "every 25 of 100 epochs".
    """
    # Minus 1e-9, because 0.07 times 100 is slightly above 7 in float64.
    return tuple(sorted(steps * math.ceil(part * epochs - 1e-9) for part in fractions))


def epoch_order(
    seed: int, epoch: int, samples: int, batch_size: int
) -> Int[np.ndarray, "steps batch"]:
    """Return an epoch's sample indices, int32: one row of min(batch_size, samples) per step.

    Every sample occurs once; the last row is filled up from the start of the same order.
    """
    batch_size = min(batch_size, samples)
    steps = -(-samples // batch_size)
    order = np.random.default_rng((seed, epoch)).permutation(samples).astype(np.int32)
    return np.resize(order, (steps, batch_size))
