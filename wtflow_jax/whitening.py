"""Full whitening of each position's feature vector: the worst-transport map beyond LN and BN.

At position p the features get the covariance Σ = (1 − α)·Σ_p + α·Σ_all, their mean blended alike,
and x0 = s·W(f − μ) with WΣWᵀ = I. One shared factor Z = (Σ_all + ridge)^(−1/2) whitens what all
positions have in common. What is left of Σ_p in these coordinates has few large eigenvalues: it is
kept to its ``rank`` first ones, so the memory is c² + h·w·c·rank numbers instead of h·w·c².
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from wtflow_jax.errors import WTFlowError
from wtflow_jax.types import Samples

RIDGE = 0.01
"""Added to Σ_all, as a share of its mean variance."""
SMALLEST = 1e-10
"""Variance below which a direction counts as constant."""
FOLDS = 5
"""Parts of the training set that are left out in turn to fit the scale."""


class Whitening(NamedTuple):
    """Statistics of the map, for p positions of c channels.

    Attributes:
        mean: of all positions (c,).
        shared: Z, symmetric (c, c).
        offset: the blended mean of each position in Z's coordinates (p, c).
        basis: first principal directions of each position there (p, rank, c).
        gain: what the whitening adds along them (p, rank); below zero.
        rest: what it does everywhere, α^(−1/2), a scalar.
        scale: s, a scalar.
    """

    mean: Float[Array, " c"]
    shared: Float[Array, "c c"]
    offset: Float[Array, "p c"]
    basis: Float[Array, "p r c"]
    gain: Float[Array, "p r"]
    rest: Float[Array, ""]
    scale: Float[Array, ""]


def _vectors(features: Samples) -> Float[Array, "n p c"]:
    return features.reshape(features.shape[0], -1, features.shape[-1])


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


def apply(stats: Whitening, features: Samples) -> Samples:
    """Return x0 = s·W(f − μ) (n, *event) of features (n, *event), the last axis the channels."""
    z = (_vectors(features) - stats.mean) @ stats.shared - stats.offset
    along = jnp.einsum("npc,prc->npr", z, stats.basis) * stats.gain
    x0 = stats.rest * z + jnp.einsum("npr,prc->npc", along, stats.basis)
    return (stats.scale * x0).reshape(features.shape)


@partial(jax.jit, static_argnames=("rank", "folds"))
def _fit(features: Samples, alpha: Float[Array, ""], rank: int, folds: int) -> Whitening:
    vectors = _vectors(features)
    fold = jnp.arange(vectors.shape[0]) % folds

    def left_out(k: Array) -> Float[Array, ""]:
        kept = (fold != k).astype(vectors.dtype)
        squares = jnp.square(apply(_unscaled(vectors, kept, alpha, rank), vectors))
        return jnp.sum(squares * (1 - kept)[:, None, None])

    total = jnp.sum(jax.lax.map(left_out, jnp.arange(folds)))
    everything = _unscaled(vectors, jnp.ones(vectors.shape[0]), alpha, rank)
    # Constant features are mapped to zero at any scale.
    scale = jnp.where(total > 0, jnp.sqrt(vectors.size / jnp.where(total > 0, total, 1.0)), 1.0)
    return everything._replace(scale=scale)


def fit(features: Samples, *, alpha: float = 0.1, rank: int = 64) -> Whitening:
    """Fit the whitening to training features.

    The scale s is fitted by leaving out a fifth of the samples in turn, so that ‖x0‖² of maps that
    were not fitted averages D, as Lemma 6 asks of the fitted ones.

    Args:
        features: (n, *event), the last axis the channels, n ≥ 2.
        alpha: α in (0, 1]: 0 would whiten each position by itself, 1 whitens all by one matrix.
        rank: principal directions kept a position; at most n − 1 and c are there.

    Raises:
        WTFlowError: fewer than two samples.
    """
    n, c = features.shape[0], features.shape[-1]
    if n < 2:
        raise WTFlowError(f"whiten: {n} training sample; give at least 2, or another WT map")
    return _fit(jnp.asarray(features), jnp.float32(alpha), min(rank, n, c), min(FOLDS, n))
