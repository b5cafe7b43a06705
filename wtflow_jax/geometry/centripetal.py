"""The centripetal potential field: where the velocity points at t = 0 (Eq. 13)."""

import jax
import jax.numpy as jnp

from wtflow_jax.flow.targets import TARGETS, Target
from wtflow_jax.flow.types import PRNGKey, Sample


def mean_velocity(key: PRNGKey, x: Sample, target: Target | str, draws: int = 10_000) -> Sample:
    """Return the mean of x1 − x over draws of x1: Monte Carlo for Eq. 13 with any target.

    At t = 0 the regression on the data has this value: −x for every target centred at the origin.
    For a ring of any radius R at distance d, V(d) = 1/(2π)·∫(R cos θ − d) dθ = −d. Eq. 13 has one
    minus sign too many for its result −d.

    Args:
        key: key of the draws.
        x: one position (*event).
        target: distribution of x1, a function or its name.
        draws: number of draws; the error of a component is its standard deviation / √draws.
    """
    draw = TARGETS.given(target)

    def add(total: Sample, key: PRNGKey) -> tuple[Sample, None]:
        return total + draw(key, x.shape) - x, None

    total, _ = jax.lax.scan(add, jnp.zeros_like(x), jax.random.split(key, draws))
    return total / draws
