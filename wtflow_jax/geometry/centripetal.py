"""The centripetal potential field: where the velocity points before the flow has begun (Eq. 13)."""

import jax
import jax.numpy as jnp

from wtflow_jax.flow.targets import TARGETS, Target
from wtflow_jax.flow.types import PRNGKey, Sample


def mean_velocity(key: PRNGKey, x: Sample, target: Target | str, draws: int = 10_000) -> Sample:
    """Return the mean of x1 − x over draws of x1: Monte Carlo for Eq. 13 with any target.

    Its value at t = 0 is the regression's on the data, −x for every target centred at the origin: a
    ring at distance d has V(d) = 1/(2π)·∫(R cos θ − d) dθ = −d, whatever its radius R. Eq. 13 has
    one minus sign too many for the −d it arrives at.

    Args:
        key: decides the draws.
        x: one position (*event).
        target: where x1 comes from, a function or its name.
        draws: how many; the error of a component is its standard deviation / √draws.
    """
    draw = TARGETS.given(target)

    def add(total: Sample, key: PRNGKey) -> tuple[Sample, None]:
        return total + draw(key, x.shape) - x, None

    total, _ = jax.lax.scan(add, jnp.zeros_like(x), jax.random.split(key, draws))
    return total / draws
