"""The centripetal potential field: where the velocity points before the flow has begun (Eq. 13)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from wtflow_jax.flow.targets import Target
from wtflow_jax.flow.types import PRNGKey, Sample


def centripetal_potential(
    d: Float[Array, "*n"], radius: float | Float[Array, ""]
) -> Float[Array, "*n"]:
    """Return V(d), the mean radial velocity from a point at distance d to a ring about the origin.

    V(d) = 1/(2π)·∫(R cos θ − d) dθ = −d whatever the radius: the ring's points cancel. Eq. 13 has
    one minus sign too many for the −d it arrives at.

    Args:
        d: distances from the origin (*n).
        radius: R; taken to show that it does not matter.
    """
    # The mean of cos θ over equally spaced angles is zero, as the integral is.
    angle = 2 * jnp.pi * jnp.arange(8) / 8
    return jnp.mean(radius * jnp.cos(angle)) - jnp.asarray(d)


def mean_velocity(key: PRNGKey, x: Sample, target: Target, draws: int = 10_000) -> Sample:
    """Return the mean of x1 − x over draws of x1: Monte Carlo for Eq. 13 with any target.

    Its value at t = 0 is the regression's on the data, −x for every target centred at the origin.

    Args:
        key: decides the draws.
        x: one position (*event).
        target: where x1 comes from.
        draws: how many; the error of a component is its standard deviation / √draws.
    """

    def add(total: Sample, key: PRNGKey) -> tuple[Sample, None]:
        return total + target(key, x.shape) - x, None

    total, _ = jax.lax.scan(add, jnp.zeros_like(x), jax.random.split(key, draws))
    return total / draws
