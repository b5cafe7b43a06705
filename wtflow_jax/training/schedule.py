"""The course of a run: an epoch's order, when the rate decays, and what a run has behind it."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from wtflow_jax.support.errors import WTFlowError

PATIENCE = 5
"""Epochs in a row whose loss may be above ``MARGIN`` times that of the first step."""
MARGIN = 1.1
"""For the noise of one batch."""


class Diverged(WTFlowError):
    """Training leads nowhere; what is saved of it is from before."""


class Past(NamedTuple):
    """What a run has behind it.

    Attributes:
        losses: of the epochs that are over.
        steps: taken in the next one.
        total: the sum of their losses.
        seconds: they took, compilation included.
        first: loss of the first step of all; infinite before it.
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
        """The epoch that was begun, counted from 1."""
        return len(self.losses) + 1

    def after(self, losses: list[float], seconds: float) -> "Past":
        """Return the same with some more steps, or raise Diverged where a loss is not finite."""
        total, steps = self.total, self.steps + len(losses)
        # One by one: how many come at a time depends on the device.
        for value in losses:
            total += value
        if not math.isfinite(total):
            raise Diverged(f"the loss is {total} in step {steps} of epoch {self.epoch}")
        first = losses[0] if self.first == math.inf else self.first
        return Past(self.losses, steps, total, self.seconds + seconds, first)

    def over(self) -> "Past":
        """Return the same with the epoch over whose steps have all been taken."""
        return Past((*self.losses, self.loss), first=self.first)

    @property
    def good(self) -> bool:
        """Whether the last epoch that is over, if any, had no higher loss than the first step."""
        return not self.losses or self.losses[-1] <= MARGIN * self.first

    def check(self) -> None:
        """Raise Diverged where the loss was above its first value for ``PATIENCE`` epochs."""
        recent = self.losses[-PATIENCE:]
        if len(recent) == PATIENCE and min(recent) > MARGIN * self.first:
            raise Diverged(
                f"the loss has been above {self.first:.3g}, that of the first step, for {PATIENCE} "
                f"epochs and is {recent[-1]:.3g} in epoch {len(self.losses)}"
            )


BEGINNING = Past()


def decay_steps(epochs: int, steps: int, fractions: tuple[float, ...]) -> tuple[int, ...]:
    """Return the steps from which on the learning rate is divided by ten, ascending.

    The fractions (0.25, 0.5, 0.75) of a run are the paper's "every 25 of 100 epochs".
    """
    # A hair less: 0.07 times 100 is 7, in float64 a bit more.
    return tuple(sorted(steps * math.ceil(part * epochs - 1e-9) for part in fractions))


def epoch_order(
    seed: int, epoch: int, samples: int, batch_size: int
) -> Int[np.ndarray, "steps batch"]:
    """Return an epoch's sample indices, a row a step, int32; ``batch_size`` or all in a row.

    Every sample comes once; the last row is filled up from the start of the same order.
    """
    batch_size = min(batch_size, samples)
    steps = -(-samples // batch_size)
    order = np.random.default_rng((seed, epoch)).permutation(samples).astype(np.int32)
    return np.resize(order, (steps, batch_size))
