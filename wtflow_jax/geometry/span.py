"""The space of velocities: b dimensions for a network whose last layer has b input channels.

At each cell the last layer, a b × c matrix and a constant, makes a velocity of c channels from b
numbers. For any solver and step count, the part of x̂1 − x0 outside these b dimensions is that
constant: there x̂1 is x0, shifted equally for all samples (docs/method.md).
"""

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from wtflow_jax.flow import paths, targets
from wtflow_jax.flow.types import Params, PRNGKey, Sample, Samples, Time, VelocityFn
from wtflow_jax.support.compilation import jit

ROUNDING = 1e-8
"""Variances up to this share of the largest count as zero."""


class Span(NamedTuple):
    """An affine space of r dimensions, r ≤ c."""

    middle: Float[Array, " c"]  #: a point in the space
    axes: Float[Array, "r c"]  #: its directions, orthonormal


@jit("velocity_fn")
def along(
    velocity_fn: VelocityFn, params: Params, x0: Samples, times: Float[Array, " k"], key: PRNGKey
) -> Float[Array, "k n *event"]:
    """Return v at x_t = (1 − t)·x0 + t·x1 of each sample, on a grid of times.

    ``key`` draws a Gaussian x1, the same at all times. Samples are evaluated one at a time, so
    memory besides the result is that of one velocity.
    """
    x1 = jax.vmap(targets.gaussian, (0, None))(jax.random.split(key, len(x0)), x0.shape[1:])

    def at(t: Time) -> Samples:
        return jax.lax.map(partial(velocity_fn, params, t), paths.position(x0, x1, t))

    return jax.lax.map(at, times)


def principal(vectors: Float[np.ndarray, "... c"], dimensions: int | None = None) -> Span:
    """Return the least-squares affine space of ``dimensions`` dimensions for some vectors.

    Without ``dimensions``, return the smallest space that holds all vectors, up to rounding.
    """
    rows = np.asarray(vectors).reshape(-1, np.shape(vectors)[-1])
    middle = rows.mean(axis=0, dtype=np.float64)
    y = rows - middle
    sizes, axes = np.linalg.eigh(y.T @ y)
    kept = int(np.sum(sizes > ROUNDING * sizes[-1])) if dimensions is None else dimensions
    parts = middle, axes[:, len(sizes) - kept :].T
    return Span(*(jnp.asarray(part, rows.dtype) for part in parts))


def within(span: Span, x: Float[Array | np.ndarray, "*event c"]) -> Float[Array, "*event c"]:
    """Return the projections of vectors onto a space."""
    return span.middle + (x - span.middle) @ span.axes.T @ span.axes


@lru_cache
def confined(velocity_fn: VelocityFn) -> VelocityFn:
    """Return a ``velocity_fn`` that projects velocities onto a space.

    Its parameters are the space and those of ``velocity_fn``. If ``velocity_fn`` minimises the loss
    (Eq. 4), this one minimises it among all velocities in the space.
    """

    def field(params: Params, t: Time, x: Sample) -> Sample:
        span, own = params
        return within(span, velocity_fn(own, t, x))

    return field
