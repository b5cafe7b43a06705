"""The course of a run: an epoch's order and learning rate, and what is behind it."""

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Int

from wtflow_jax.support.errors import WTFlowError

Order: TypeAlias = Int[np.ndarray, "steps batch"]
"""An epoch's sample indices, a row a step."""

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
        seconds: they took.
        first: loss of the first step of all; infinite before it.
    """

    losses: tuple[float, ...] = ()
    steps: int = 0
    total: float = 0.0
    seconds: float = 0.0
    first: float = math.inf

    def over(self) -> "Past":
        """Return the same with the epoch over whose steps have all been taken."""
        return Past((*self.losses, self.total / self.steps), first=self.first)

    @property
    def good(self) -> bool:
        """Whether the last epoch that is over, if any, had no higher loss than the first step."""
        return not self.losses or self.losses[-1] <= MARGIN * self.first

    def check(self) -> None:
        """Pass where a run leads somewhere.

        Raises:
            Diverged: the loss was above that of the first step for ``PATIENCE`` epochs.
        """
        recent = self.losses[-PATIENCE:]
        if len(recent) == PATIENCE and min(recent) > MARGIN * self.first:
            raise Diverged(
                f"the loss has been above {self.first:.3g}, that of the first step, for {PATIENCE} "
                f"epochs and is {recent[-1]:.3g} in epoch {len(self.losses)}"
            )


BEGINNING = Past()


def learning_rate(epoch: int, epochs: int, initial: float, decay_at: tuple[float, ...]) -> float:
    """Return the step schedule's value: × 0.1 at each fraction of the run that has passed.

    Args:
        epoch: counted from 0.
        epochs: length of the run.
        initial: the first value (Sec. V-A: 2e-4).
        decay_at: fractions of the run; (0.25, 0.5, 0.75) is the paper's "every 25 of 100 epochs".
    """
    # A hair more: 0.07 times 100 is 7, in float64 a bit more.
    return initial * 0.1 ** sum(epoch + 1e-9 >= fraction * epochs for fraction in decay_at)


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
