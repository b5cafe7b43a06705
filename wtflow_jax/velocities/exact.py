"""A velocity on feature maps with nothing to train: the exact field of the training patches.

Each position's feature vector is a sample of its own, and ``geometry.empirical`` gives the velocity
that a network of any size would learn on them at best.
"""

import math
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from wtflow_jax.flow.maps import WTMap
from wtflow_jax.flow.types import Params, PRNGKey, Time, VelocityFn
from wtflow_jax.geometry.empirical import EARLIEST, empirical_velocity
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.helptext import arg
from wtflow_jax.velocities import VELOCITIES, Shaped, Velocity

Map = Float[Array, "h w c"]

POSITIONS = 256
"""Positions of a map evaluated together."""
PROJECTION = 64
"""Dimensions in which the coreset measures distances, by a random projection."""


def _anywhere(bank: Params, t: Time, x: Map) -> Map:
    """Answer every position from one bank of patches (m, c)."""
    vectors = x.reshape(-1, x.shape[-1])
    one = partial(empirical_velocity, bank, t)
    return jax.lax.map(one, vectors, batch_size=POSITIONS).reshape(x.shape)


def _nearby(radius: int, maps: Params, t: Time, x: Map) -> Map:
    """Answer a position from the patches of maps (n, h, w, c) in a window around it."""
    n, h, w, c = maps.shape
    rows, columns = min(2 * radius + 1, h), min(2 * radius + 1, w)

    def one(position: Array) -> Float[Array, " c"]:
        i, j = position // w, position % w
        # At the border the window is moved inwards, not cut.
        first = jnp.clip(i - radius, 0, h - rows), jnp.clip(j - radius, 0, w - columns)
        zero = jnp.zeros_like(i)
        window = jax.lax.dynamic_slice(maps, (zero, *first, zero), (n, rows, columns, c))
        return empirical_velocity(window.reshape(-1, c), t, x[i, j])

    return jax.lax.map(one, jnp.arange(h * w)).reshape(x.shape)


@partial(jax.jit, static_argnames="size")
def _coreset(vectors: Float[Array, "m c"], key: PRNGKey, size: int) -> Float[Array, "k c"]:
    """Pick vectors one by one, each the farthest from those picked (greedy k-centre)."""
    start_key, projection_key = jax.random.split(key)
    m, c = vectors.shape
    # Distances keep their order well enough, at a fraction of the time.
    projection = jax.random.normal(projection_key, (c, min(c, PROJECTION)))
    low = vectors @ projection if c > PROJECTION else vectors

    def pick(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        picked, distance = carry
        last = low[picked[i - 1]]
        distance = jnp.minimum(distance, jnp.sum(jnp.square(low - last), axis=1))
        return picked.at[i].set(jnp.argmax(distance)), distance

    first = jax.random.randint(start_key, (), 0, m)
    picked = jnp.zeros(size, jnp.int32).at[0].set(first)
    picked, _ = jax.lax.fori_loop(1, size, pick, (picked, jnp.full(m, jnp.inf)))
    return vectors[picked]


@VELOCITIES.add("exact")
@dataclass(frozen=True)
class Exact(Velocity):
    """The exact field of training patches."""

    patches: int = 12_000
    """Training patches kept, at most."""
    coreset: bool = False
    """Keep those farthest from one another instead of a random sample."""
    neighbourhood: Annotated[int | None, arg(metavar="CELLS")] = None
    """Compare with patches at most so many cells away (the window moves inwards at the border);
    left out: with all."""

    trained = False
    reads_x0 = True
    any_target = False
    singular = True
    RANGES: ClassVar = {"patches": (1, None), "neighbourhood": (0, None)}

    def __post_init__(self) -> None:
        """Raise WTFlowError where options contradict one another."""
        if self.coreset and self.neighbourhood is not None:
            raise WTFlowError("--coreset: does not go with --neighbourhood; leave one of them out")

    def velocity_fn(self) -> VelocityFn:
        """Return the field; its parameters are what ``init`` returns."""
        return _anywhere if self.neighbourhood is None else _nearby_fn(self.neighbourhood)

    def portable(self) -> VelocityFn | None:
        """Return the field of all patches without a loop."""
        return _at_once if self.neighbourhood is None else None

    def init(self, key: PRNGKey, x0: Shaped) -> Params:
        """Return the patches that are kept, (min(patches, n·h·w), c).

        With a neighbourhood it is all maps (n, h, w, c), or as many of them, drawn at random, as a
        window of ``patches`` allows.
        """
        n, h, w, c = x0.shape
        if self.neighbourhood is not None:
            window = math.prod(min(2 * self.neighbourhood + 1, cells) for cells in (h, w))
            kept = max(1, self.patches // window)
            return x0 if n <= kept else jax.random.choice(key, x0, (kept,), replace=False)
        vectors = x0.reshape(-1, c)
        if len(vectors) <= self.patches:
            return vectors
        if self.coreset:
            return _coreset(vectors, key, self.patches)
        return jax.random.choice(key, vectors, (self.patches,), replace=False)

    def usual(self, wt: WTMap) -> dict[str, Any]:
        """Return one residual step from an early time, where the field is not yet singular."""
        return {"start": 0.05 if wt.isotropic else 0.02, "residual": True, "steps_det": 1}


def _at_once(bank: Params, t: Time, x: Map) -> Map:
    """Answer every position from one bank of patches (m, c), in products of matrices.

    w = softmax(−‖x − (1 − t)x_i‖²/(2t²)), without what all the x_i have in common.
    """
    t = jnp.maximum(t, EARLIEST)
    vectors = x.reshape(-1, x.shape[-1])
    highest = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    near = highest(vectors, bank.T) - (1 - t) / 2 * jnp.sum(jnp.square(bank), axis=1)
    weights = jax.nn.softmax((1 - t) / jnp.square(t) * near, axis=-1)
    return ((vectors - highest(weights, bank)) / t).reshape(x.shape)


@lru_cache
def _nearby_fn(radius: int) -> VelocityFn:
    return partial(_nearby, radius)
