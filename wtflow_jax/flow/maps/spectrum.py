"""Principal directions of each position's features, in coordinates that whiten all positions."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from wtflow_jax.flow.maps.neighbours import Neighbours
from wtflow_jax.support.compilation import in_float32

RIDGE = 0.01
"""Added to Σ_all, as a share of its mean variance."""
SMALLEST = 1e-10
"""Variance below which a direction counts as constant."""
AT_ONCE = 64
"""Positions that a GPU works on at a time."""
APART, TOGETHER = 1e-4, 1.0
"""Choices for α = 0: each position by itself, or all positions as one."""
WHOLLY = 0.35
"""Share of the training samples, or of the channels where these are fewer: principal directions
that ``rank`` 0 takes away wholly. From there to the last direction the part falls to 0."""


class Rank(NamedTuple):
    """Number of principal directions per position."""

    kept: int
    wholly: int  #: the first, taken away wholly as α → 0; the part of the others falls to 0

    @classmethod
    def cut(cls, most: int) -> "Rank":
        """Return the rank that takes all kept directions away wholly."""
        return cls(most, most)

    @classmethod
    def tapering(cls, most: int) -> "Rank":
        """Return ``rank`` 0 for the given number of samples or channels, whichever are fewer."""
        return cls(most, round(WHOLLY * most))

    @property
    def tapers(self) -> bool:
        """Whether directions are taken away in part."""
        return self.wholly < self.kept

    def parts(self) -> Float[Array, " kept"]:
        """Return the part of each direction that is taken away; the last is the largest."""
        after = jnp.arange(self.kept)[::-1] - self.wholly
        return 1 - jnp.clip(after / max(1, self.kept - self.wholly), 0, 1)


class Spectrum(NamedTuple):
    """Statistics that do not depend on α; z are coordinates after Z."""

    mean: Float[Array, " c"]
    shared: Float[Array, "c c"]  #: Z
    rare: Float[Array, "c c"]  #: Z for ``TOGETHER``: less by degrees all directions, if rank tapers
    centre: Float[Array, "p c"]  #: mean of z
    basis: Float[Array, "p r c"]  #: first principal directions of z
    largest: Float[Array, "p r"]  #: variance of z along them
    part: Float[Array, " r"]  #: the part of each that is taken away, ``Rank.parts``


@in_float32
def spectrum(
    vectors: Float[Array, "n p c"],
    kept: Float[Array, " n"],
    rank: Rank,
    near: Neighbours | None = None,
) -> Spectrum:
    """Fit on the samples whose ``kept`` is 1, for any α; of positions ``near.own``, if given."""
    n, p, c = vectors.shape
    count = jnp.sum(kept)
    mean = jnp.einsum("n,npc->c", kept, vectors) / (count * p)
    x = (vectors - mean) * kept[:, None, None]
    everywhere = jnp.einsum("npc,npd->cd", x, x) / (count * p)
    ridge = RIDGE * jnp.trace(everywhere) / c
    values, axes = jnp.linalg.eigh(everywhere + ridge * jnp.eye(c))
    factors = 1 / jnp.sqrt(jnp.maximum(values, SMALLEST))
    shared = (axes * factors) @ axes.T
    rare = shared
    if rank.tapers:
        factors *= 1 - Rank(c, 0).parts() * (1 - APART**0.5)
        rare = (axes * factors) @ axes.T

    def first(product: Float[Array, "*p c c"]) -> tuple[Array, Array]:
        variance, right = jnp.linalg.eigh(product)
        basis = jnp.swapaxes(right[..., -rank.kept :], -1, -2)
        return basis, jnp.maximum(variance[..., -rank.kept :], 0.0)

    def centred(x: Float[Array, "n c"]) -> tuple[Array, Array]:
        z = x @ shared
        centre = jnp.sum(z, axis=0) / count
        return centre, (z - centre) * kept[:, None]

    def covariance(x: Float[Array, "n c"]) -> tuple[Array, Array]:
        centre, z = centred(x)
        return centre, z.T @ z / count

    def position(x: Float[Array, "n c"]) -> tuple[Array, Array, Array]:
        # The smaller of the two products has the same eigenvalues.
        if n >= c:
            centre, product = covariance(x)
            return centre, *first(product)
        centre, z = centred(x)
        variance, left = jnp.linalg.eigh(z @ z.T / count)
        largest = jnp.maximum(variance[-rank.kept :], jnp.finfo(variance.dtype).eps)
        basis = (left[:, -rank.kept :] / jnp.sqrt(count * largest)).T @ z
        return centre, basis, largest

    each = jnp.swapaxes(x, 0, 1)
    if near is None:
        found = _each(position, each)
    else:
        centres, covariances = _each(covariance, each)
        blended = _each(lambda of: near.blend(covariances, of), jnp.asarray(near.of))
        # Together, for in a loop they would be found on one core of a CPU.
        found = centres[near.own], *first(blended)
    return Spectrum(mean, shared, rare, *found, part=rank.parts())


def _each(function: Callable[[Array], Any], positions: Array) -> Any:
    """Call a function of each position; on a GPU of ``AT_ONCE`` together."""
    # On a GPU one position at a time is thousands of small kernels, mostly idle time.
    together = partial(jax.lax.map, function, batch_size=AT_ONCE)
    one_by_one = partial(jax.lax.map, function)
    return jax.lax.platform_dependent(positions, cpu=one_by_one, default=together)
