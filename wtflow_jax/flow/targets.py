"""Target distributions, from which x1 is drawn (Algorithm 1, line 3; Table VIII)."""

import math
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

from wtflow_jax.flow.types import PRNGKey, Sample
from wtflow_jax.support.parts import Parts

Target: TypeAlias = Callable[[PRNGKey, tuple[int, ...]], Sample]
"""``target(key, shape) -> x1`` for one sample of D = prod(shape) elements, float32."""

TARGETS: Parts[Target] = Parts("target", "wtflow_jax.flow")
"""Targets by name, as in Table VIII."""


@TARGETS.add("gaussian")
def gaussian(key: PRNGKey, shape: tuple[int, ...]) -> Sample:
    """Draw x1 from N(0, I); its norm concentrates at √D (Lemma 1)."""
    return jax.random.normal(key, shape)


@TARGETS.add("sphere")
def sphere(key: PRNGKey, shape: tuple[int, ...]) -> Sample:
    """Draw x1 uniformly from the sphere of radius √D."""
    x = jax.random.normal(key, shape)
    return x * (math.sqrt(math.prod(shape)) / jnp.linalg.norm(x))


@TARGETS.add("point")
def point(key: PRNGKey, shape: tuple[int, ...]) -> Sample:
    """Return the origin: every sample is matched with x1 = 0."""
    return jnp.zeros(shape)
