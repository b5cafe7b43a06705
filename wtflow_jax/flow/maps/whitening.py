"""Full whitening of each position's feature vector: the worst-transport map beyond LN and BN.

At position p the features get the covariance Σ = (1 − α)·Σ_p + α·Σ_all, their mean blended alike,
and x0 = s·W(f − μ) with WΣWᵀ = I. One shared factor Z = (Σ_all + ridge)^(−1/2) whitens what all
positions have in common. What is left of Σ_p in these coordinates has few large eigenvalues: it is
kept to its ``rank`` first ones, so the memory is about c² + h·w·c·rank numbers instead of h·w·c².
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from threadpoolctl import threadpool_limits

from wtflow_jax.flow.maps import MAPS, Stats, WTMap
from wtflow_jax.flow.types import Samples
from wtflow_jax.support.compilation import in_float32
from wtflow_jax.support.errors import WTFlowError

RIDGE = 0.01
"""Added to Σ_all, as a share of its mean variance."""
SMALLEST = 1e-10
"""Variance below which a direction counts as constant."""
FOLDS = 5
"""Parts of the training set that are left out in turn to fit the scale."""
SOME = 256
"""Positions the leaving out is done with, or up to twice as many: every k-th."""


class Whitening(NamedTuple):
    """Statistics of the map, for p positions of c channels."""

    mean: Float[Array, " c"]  #: of all positions
    shared: Float[Array, "c c"]  #: Z, symmetric
    offset: Float[Array, "p c"]  #: the blended mean of each position in Z's coordinates
    basis: Float[Array, "p r c"]  #: first principal directions of each position there
    gain: Float[Array, "p r"]  #: what the whitening adds along them; at most zero
    rest: Float[Array, ""]  #: what it does everywhere, α^(−1/2)
    scale: Float[Array, ""]  #: s


def _vectors(features: Samples) -> Float[Array, "n p c"]:
    return features.reshape(features.shape[0], -1, features.shape[-1])


@in_float32
def _unscaled(
    vectors: Float[Array, "n p c"], kept: Float[Array, " n"], alpha: Float[Array, ""], rank: int
) -> Whitening:
    """Fit on the samples whose ``kept`` is 1, with scale 1."""
    n, p, c = vectors.shape
    count = jnp.sum(kept)
    mean = jnp.einsum("n,npc->c", kept, vectors) / (count * p)
    x = (vectors - mean) * kept[:, None, None]
    covariance = jnp.einsum("npc,npd->cd", x, x) / (count * p)
    ridge = RIDGE * jnp.trace(covariance) / c
    values, axes = jnp.linalg.eigh(covariance + ridge * jnp.eye(c))
    smallest = jnp.maximum(values, SMALLEST)
    shared = (axes / jnp.sqrt(smallest)) @ axes.T

    def position(x: Float[Array, "n c"]) -> tuple[Array, Array, Array]:
        z = x @ shared
        centre = jnp.sum(z, axis=0) / count
        z = (z - centre) * kept[:, None]
        # The smaller of the two products has the same eigenvalues.
        if n < c:
            variance, left = jnp.linalg.eigh(z @ z.T / count)
            largest = jnp.maximum(variance[-rank:], jnp.finfo(variance.dtype).eps)
            basis = (left[:, -rank:] / jnp.sqrt(count * largest)).T @ z
        else:
            variance, right = jnp.linalg.eigh(z.T @ z / count)
            largest = jnp.maximum(variance[-rank:], 0.0)
            basis = right[:, -rank:].T
        gain = jax.lax.rsqrt((1 - alpha) * largest + alpha) - alpha**-0.5
        return (1 - alpha) * centre, basis, gain

    offset, basis, gain = jax.lax.map(position, jnp.swapaxes(x, 0, 1))
    return Whitening(mean, shared, offset, basis, gain, alpha**-0.5, jnp.ones(()))


@in_float32
def apply(stats: Whitening, features: Samples) -> Samples:
    """Return x0 = s·W(f − μ) (n, *event) of features (n, *event), the last axis the channels."""
    z = (_vectors(features) - stats.mean) @ stats.shared - stats.offset
    along = jnp.einsum("npc,prc->npr", z, stats.basis) * stats.gain
    x0 = stats.rest * z + jnp.einsum("npr,prc->npc", along, stats.basis)
    return (stats.scale * x0).reshape(features.shape)


@partial(jax.jit, static_argnames=("rank", "folds"))
def _fit(features: Samples, alpha: Float[Array, ""], rank: int, folds: int) -> Whitening:
    vectors = _vectors(features)
    some = _some(vectors)

    def squares(stats: Whitening, left_out: Float[Array, " n"]) -> Float[Array, ""]:
        return jnp.sum(jnp.sum(jnp.square(apply(stats, some)), axis=(1, 2)) * left_out)

    total = jnp.sum(_over_folds(some, alpha, rank, folds, squares))
    everything = _unscaled(vectors, jnp.ones(vectors.shape[0]), alpha, rank)
    # Constant features are mapped to zero at any scale.
    scale = jnp.where(total > 0, jnp.sqrt(some.size / jnp.where(total > 0, total, 1.0)), 1.0)
    return everything._replace(scale=scale)


def _some(vectors: Float[Array, "n p c"]) -> Float[Array, "n q c"]:
    return vectors[:, :: max(1, vectors.shape[1] // SOME)]


def _over_folds(
    vectors: Float[Array, "n p c"],
    alpha: Float[Array, ""],
    rank: int,
    folds: int,
    value: Callable[[Whitening, Float[Array, " n"]], Float[Array, ""]],
) -> Float[Array, " folds"]:
    """Return ``value(stats, left_out)`` of each fold, fitted on the others; left_out is 1 in it."""
    fold = jnp.arange(vectors.shape[0]) % folds

    def one(k: Array) -> Float[Array, ""]:
        left_out = (fold == k).astype(vectors.dtype)
        return value(_unscaled(vectors, 1 - left_out, alpha, rank), left_out)

    return jax.lax.map(one, jnp.arange(folds))


def _on_one_thread(function: Callable, features: Samples, alpha: float, rank: int) -> Any:
    """Call a function of features, α, rank and folds, and wait for what it returns.

    LAPACK is SciPy's, whose threads wait for one another in thousands of small eigenvalue problems:
    that takes up to four times as long, more where other programs run.
    """
    # Loaded by JAX when it first calls it, which would be too late to be limited.
    import scipy.linalg  # noqa: F401

    n, c = features.shape[0], features.shape[-1]
    if n < 2:
        raise WTFlowError(f"whiten: {n} training sample; give at least 2, or another WT map")
    asked = jnp.float32(alpha), min(rank, n, c), min(FOLDS, n)
    with threadpool_limits(1, user_api="blas"):
        return jax.block_until_ready(function(jnp.asarray(features), *asked))


def log_likelihood(stats: Whitening, features: Samples) -> Float[Array, " n"]:
    """Return log N(f; μ, Σ/s²) of each map in nats (n,), its positions taken as independent.

    It is log N(x0; 0, I) + log|det sW|: what the map takes the features (n, *event) for.
    """
    x0 = _vectors(apply(stats, features))
    p, c = x0.shape[1:]
    along = jnp.sum(jnp.log(stats.rest + stats.gain) - jnp.log(stats.rest))
    volume = jnp.linalg.slogdet(stats.shared)[1] + c * jnp.log(stats.rest * stats.scale)
    gaussian = -0.5 * jnp.sum(jnp.square(x0), axis=(1, 2)) - 0.5 * p * c * jnp.log(2 * jnp.pi)
    return gaussian + p * volume + along


@partial(jax.jit, static_argnames=("rank", "folds"))
def _held_out(features: Samples, alpha: Float[Array, ""], rank: int, folds: int) -> Array:
    vectors = _some(_vectors(features))

    def nats(stats: Whitening, left_out: Float[Array, " n"]) -> Float[Array, ""]:
        return jnp.sum(log_likelihood(stats, vectors) * left_out)

    return jnp.sum(_over_folds(vectors, alpha, rank, folds, nats)) / vectors.size


def held_out_log_likelihood(
    features: Samples, *, alpha: float = 0.1, rank: int = 64
) -> Float[Array, ""]:
    """Return how likely unseen good maps are, to choose α and rank from training images alone.

    A fifth of the samples is left out in turn, of ``SOME`` positions; the scale is left at 1, as it
    makes up for what a poor α gets wrong.

    Args:
        features: as in ``Whiten.fit``; ``alpha`` and ``rank`` are its options.

    Returns:
        Nats an element, a scalar; the higher, the better.
    """
    return _on_one_thread(_held_out, features, alpha, rank)


@MAPS.add("whiten")
@dataclass(frozen=True)
class Whiten(WTMap):
    """Every position's whole covariance: see the module."""

    alpha: float = 0.1
    """Weight of the covariance of all positions beside each position's own."""
    rank: int = 64
    """Principal directions kept a position."""

    isotropic = True
    kind = Whitening
    RANGES: ClassVar = {"alpha": (1e-6, 1), "rank": (1, None)}

    def fit(self, features: Samples) -> Whitening:
        """Return the statistics of training features (n, *event), n ≥ 2.

        The scale s is fitted by leaving out a fifth of the samples in turn, so that ‖x0‖² of
        left-out training maps averages D, as Lemma 6 asks of the fitted ones.

        Raises:
            WTFlowError: fewer than two samples.
        """
        return _on_one_thread(_fit, features, self.alpha, self.rank)

    def apply(self, stats: Stats, features: Samples) -> Samples:
        """Return ``apply``."""
        return apply(stats, features)
