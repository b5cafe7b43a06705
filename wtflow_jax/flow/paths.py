"""The straight path from data (t = 0) to target (t = 1), and the distributions of t.

The paper's supplement XI-B swaps the two ends; this module follows Algorithm 1.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from wtflow_jax.flow.types import PRNGKey, Sample, Time
from wtflow_jax.support.parts import Parts

TimeLaw: TypeAlias = Callable[[PRNGKey, PRNGKey, Int[Array, ""]], Time]
"""``time_law(key, shared, index) -> t``, a scalar in [0, 1). Each sample has its own ``key``; all
samples share ``shared``; ``index`` is the sample's index in the data set."""

TIME_LAWS: Parts[TimeLaw] = Parts("time_law", "wtflow_jax.flow")
"""By name. One-step inference evaluates v only at t = 0."""

GOLDEN = 2654435769
"""2³² over the golden ratio: its multiples modulo 2³² are evenly spread."""


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
    """Draw t with log(t / (1 − t)) ~ N(0, 1), mostly mid-path (Esser et al., 2403.03206)."""
    return jax.nn.sigmoid(jax.random.normal(key))


@TIME_LAWS.add("beta")
def beta_time(key: PRNGKey, shared: PRNGKey, index: Int[Array, ""]) -> Time:
    """Draw t ~ Beta(1, 3), density 3·(1 − t)²: three times the uniform density at t = 0."""
    return 1 - jnp.cbrt(1 - jax.random.uniform(key))


@TIME_LAWS.add("stratified")
def stratified_time(key: PRNGKey, shared: PRNGKey, index: Int[Array, ""]) -> Time:
    """Return index × golden ratio + a shared U(0, 1) shift, modulo 1.

    Each t is uniform, but the times of an epoch are evenly spread: its mean loss varies less.
    """
    shift = jax.random.bits(shared, dtype=jnp.uint32)
    spread = index.astype(jnp.uint32) * jnp.uint32(GOLDEN) + shift
    # 24 bits, the precision of a float32 below 1.
    return (spread >> 8).astype(jnp.float32) / 2**24
