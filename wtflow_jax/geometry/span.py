"""The space that velocities lie in: a network whose last layer has b channels has b dimensions.

Its velocity at each cell is a vector of c channels that the last layer, a matrix of b × c and a
constant, makes of b numbers. Whatever solver or step count carries x0 along it, the part of
x̂1 − x0 outside these b dimensions is that constant: there x̂1 is x0, moved by the same for all
(docs/method.md).
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
"""Variance that counts as none, as a share of the largest."""


class Span(NamedTuple):
    """An affine space of r dimensions, r ≤ c."""

    middle: Float[Array, " c"]  #: a point of it
    axes: Float[Array, "r c"]  #: its directions, orthonormal


@jit("velocity_fn")
def along(
    velocity_fn: VelocityFn, params: Params, x0: Samples, times: Float[Array, " k"], key: PRNGKey
) -> Float[Array, "k n *event"]:
    """Return v at x_t = (1 − t)·x0 + t·x1 of each sample, on a grid of times.

    ``key`` decides x1, a Gaussian, the same at all times. One sample at a time: memory beside what
    is returned is that of one velocity.
    """
    x1 = jax.vmap(targets.gaussian, (0, None))(jax.random.split(key, len(x0)), x0.shape[1:])

    def at(t: Time) -> Samples:
        return jax.lax.map(partial(velocity_fn, params, t), paths.position(x0, x1, t))

    return jax.lax.map(at, times)


def principal(vectors: Float[np.ndarray, "... c"], dimensions: int | None = None) -> Span:
    """Return the space of so many dimensions that is nearest to some vectors, by their squares.

    Left out, it is the smallest one that has them all, but for rounding.
    """
    rows = np.asarray(vectors).reshape(-1, np.shape(vectors)[-1])
    middle = rows.mean(axis=0, dtype=np.float64)
    y = rows - middle
    sizes, axes = np.linalg.eigh(y.T @ y)
    kept = int(np.sum(sizes > ROUNDING * sizes[-1])) if dimensions is None else dimensions
    parts = middle, axes[:, len(sizes) - kept :].T
    return Span(*(jnp.asarray(part, rows.dtype) for part in parts))


def within(span: Span, x: Float[Array | np.ndarray, "*event c"]) -> Float[Array, "*event c"]:
    """Return the points of a space that are nearest to vectors."""
    return span.middle + (x - span.middle) @ span.axes.T @ span.axes


@lru_cache
def confined(velocity_fn: VelocityFn) -> VelocityFn:
    """Return a ``velocity_fn`` whose velocities are taken to the nearest of a space.

    Its parameters are the space and those of ``velocity_fn``. Of all velocities in that space it is
    the one with the least loss, where ``velocity_fn`` has the least of all (Eq. 4).
    """

    def field(params: Params, t: Time, x: Sample) -> Sample:
        span, own = params
        return within(span, velocity_fn(own, t, x))

    return field
