"""The straight path from data (t = 0) to target (t = 1), and how its time is drawn.

The paper's supplement XI-B writes the two ends the other way round; Algorithm 1 is followed.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from wtflow_jax.flow.types import PRNGKey, Sample, Time
from wtflow_jax.support.parts import Parts

TimeLaw: TypeAlias = Callable[[PRNGKey, PRNGKey, Int[Array, ""]], Time]
"""``time_law(key, shared, index) -> t`` in [0, 1), a scalar: a key of the sample's own, one that
all samples of the batch share, and the sample's index in the data set."""

TIME_LAWS: Parts[TimeLaw] = Parts("time_law", "wtflow_jax.flow")
"""By name. One step of inference asks for v at t = 0 alone."""

GOLDEN = 2654435769
"""2³² over the golden ratio: multiples of it, modulo 2³², are spread evenly."""


def position(x0: Sample, x1: Sample, t: Time) -> Sample:
    """Return x_t = (1 − t)·x0 + t·x1 (Algorithm 1, line 4)."""
    return (1 - t) * x0 + t * x1


def velocity(x0: Sample, x1: Sample) -> Sample:
    """Return the conditional velocity x1 − x0, constant along the path (Eq. 7)."""
    return x1 - x0


@TIME_LAWS.add("uniform")
def uniform_time(key: PRNGKey, shared: PRNGKey, index: Int[Array, ""]) -> Time:
    """Draw t ~ U(0, 1) (Algorithm 1, line 4)."""
    return jax.random.uniform(key)


@TIME_LAWS.add("logit_normal")
def logit_normal_time(key: PRNGKey, shared: PRNGKey, index: Int[Array, ""]) -> Time:
    """Draw t with log(t / (1 − t)) ~ N(0, 1): the middle of the path (Esser et al., 2403.03206)."""
    return jax.nn.sigmoid(jax.random.normal(key))


@TIME_LAWS.add("beta")
def beta_time(key: PRNGKey, shared: PRNGKey, index: Int[Array, ""]) -> Time:
    """Draw t ~ Beta(1, 3), of density 3·(1 − t)²: three times the uniform law's at t = 0."""
    return 1 - jnp.cbrt(1 - jax.random.uniform(key))


@TIME_LAWS.add("stratified")
def stratified_time(key: PRNGKey, shared: PRNGKey, index: Int[Array, ""]) -> Time:
    """Return the index's multiple of the golden ratio, shifted by one U(0, 1) for all, modulo 1.

    Each t is uniform, but those of an epoch are spread evenly, so that its mean loss varies less.
    """
    shift = jax.random.bits(shared, dtype=jnp.uint32)
    spread = index.astype(jnp.uint32) * jnp.uint32(GOLDEN) + shift
    # 24 bits, as many as a float32 below 1 holds.
    return (spread >> 8).astype(jnp.float32) / 2**24
