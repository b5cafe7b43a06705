"""The straight path from data (t = 0) to target (t = 1), and how its time is drawn.

The paper's supplement XI-B writes the two ends the other way round; Algorithm 1 is followed.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax

from wtflow_jax.types import PRNGKey, Sample, Time

TimeLaw: TypeAlias = Callable[[PRNGKey], Time]
"""``time_law(key) -> t`` in [0, 1), a scalar."""


def position(x0: Sample, x1: Sample, t: Time) -> Sample:
    """Return x_t = (1 − t)·x0 + t·x1 (Algorithm 1, line 4)."""
    return (1 - t) * x0 + t * x1


def velocity(x0: Sample, x1: Sample) -> Sample:
    """Return the conditional velocity x1 − x0, constant along the path (Eq. 7)."""
    return x1 - x0


def uniform_time(key: PRNGKey) -> Time:
    """Draw t ~ U(0, 1) (Algorithm 1, line 4)."""
    return jax.random.uniform(key)
