"""A velocity on feature maps with nothing to train: the exact field of the training patches.

Each position's feature vector is one sample. ``geometry.empirical`` gives the best velocity that a
network of any size could learn on them.
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
"""Dimensions of the random projection in which the coreset measures distances."""


def _anywhere(bank: Params, t: Time, x: Map) -> Map:
    """Evaluate every position with one bank of patches (m, c)."""
    vectors = x.reshape(-1, x.shape[-1])
    one = partial(empirical_velocity, bank, t)
    return jax.lax.map(one, vectors, batch_size=POSITIONS).reshape(x.shape)


def _nearby(radius: int, maps: Params, t: Time, x: Map) -> Map:
    """Evaluate each position with the patches of maps (n, h, w, c) in a window around it."""
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
    # The projection keeps the order of distances well enough, at a fraction of the time.
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
    """Maximum number of training patches kept."""
    coreset: bool = False
    """Keep patches far from one another (greedy k-centre) instead of a random sample."""
    neighbourhood: Annotated[int | None, arg(metavar="CELLS")] = None
    """Compare only with patches at most this many cells away (the window moves inwards at the
    border); left out: with all patches."""

    trained = False
    reads_x0 = True
    any_target = False
    singular = True
    RANGES: ClassVar = {"patches": (1, None), "neighbourhood": (0, None)}

    def __post_init__(self) -> None:
        """Raise WTFlowError if options contradict one another."""
        if self.coreset and self.neighbourhood is not None:
            raise WTFlowError("--coreset: does not go with --neighbourhood; leave one of them out")

    def velocity_fn(self) -> VelocityFn:
        """Return the field; its parameters are what ``init`` returns."""
        return _anywhere if self.neighbourhood is None else _nearby_fn(self.neighbourhood)

    def portable(self) -> VelocityFn | None:
        """Return the field without a loop; None with a neighbourhood."""
        return _at_once if self.neighbourhood is None else None

    def init(self, key: PRNGKey, x0: Shaped) -> Params:
        """Return the kept patches, (min(patches, n·h·w), c).

        With a neighbourhood return maps (n, h, w, c): all, or a random choice of at least one map
        that leaves at most ``patches`` patches per window.
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
        """Return one residual step from a small t > 0, where the field is not singular."""
        return {"start": 0.05 if wt.isotropic else 0.02, "residual": True, "steps_det": 1}


def _at_once(bank: Params, t: Time, x: Map) -> Map:
    """Evaluate every position with one bank of patches (m, c), by matrix products.

    w = softmax(−‖x − (1 − t)x_i‖²/(2t²)), without the terms that are the same for all x_i.
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
