"""Full whitening of each position's feature vector: the worst-transport map beyond LN and BN.

Position p has the covariance Σ = (1 − α)·Σ_p + α·Σ_all; its mean is blended in the same way. Then
x0 = s·W(f − μ) with WΣWᵀ = I. One shared factor Z = (Σ_all + ridge)^(−1/2) whitens what all
positions have in common. In these coordinates Σ_p has few large eigenvalues. Only the first
``rank`` are kept, so memory is about c² + h·w·c·rank numbers instead of h·w·c².

As α → 0, x0 tends to the part of f that a position's principal directions do not explain, with one
scale for all positions. It is the residual of probabilistic PCA (Tipping and Bishop, 1999) in
coordinates where the features of all positions are white. ``rank`` 0 takes the first directions
away wholly and the others the less, the smaller their variance.

Parts never lie exactly the same, so what is usual in one cell is nearly usual in the next: with
``near`` a position's covariance holds a share of its neighbours' (``neighbours``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from wtflow_jax.flow.maps import MAPS, Stats, WTMap
from wtflow_jax.flow.maps.neighbours import Neighbours, neighbours
from wtflow_jax.flow.maps.spectrum import APART, TOGETHER, Rank, Spectrum, spectrum
from wtflow_jax.flow.types import Samples
from wtflow_jax.support.compilation import in_float32
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.threads import lapack_on_one_thread

FOLDS = 5
"""Parts of the training set that are left out in turn to fit the scale."""
SOME = 64
"""Positions used for the left-out parts, or up to twice as many: every k-th."""
BETWEEN = 0.3
"""α at which ``APART`` is judged: that itself is never likely, although its scores are best."""
LARGEST = 320
"""Channels above which ``near`` is not used: its eigenvalues cost the cube of their number."""


class Whitening(NamedTuple):
    """Statistics of the map, for p positions of c channels."""

    mean: Float[Array, " c"]  #: of all positions
    shared: Float[Array, "c c"]  #: Z, symmetric
    offset: Float[Array, "p c"]  #: the blended mean of each position in Z's coordinates
    basis: Float[Array, "p r c"]  #: first principal directions of each position there
    gain: Float[Array, "p r"]  #: added to the factor ``rest`` along them; at most zero
    rest: Float[Array, ""]  #: the factor in all directions, α^(−1/2)
    scale: Float[Array, ""]  #: s
    evidence: Float[Array, ""]  #: for ``APART``: nats per element of left-out maps; 0: not judged


def _vectors(features: Samples) -> Float[Array, "n p c"]:
    return features.reshape(features.shape[0], -1, features.shape[-1])


def unscaled(found: Spectrum, alpha: Float[Array, ""]) -> Whitening:
    """Return the map for an α, with scale 1."""
    offset, one, zero = (1 - alpha) * found.centre, jnp.ones(()), jnp.zeros(())
    own = found.mean, found.shared, offset, found.basis, _gain(found, alpha)
    return Whitening(*own, rest=alpha**-0.5, scale=one, evidence=zero)


def _map(found: Spectrum, alpha: Float[Array, ""]) -> Whitening:
    """Return the map for an α, with scale 1; for ``TOGETHER`` by ``Spectrum.rare``."""
    shared = jnp.where(alpha == TOGETHER, found.rare, found.shared)
    return unscaled(found, alpha)._replace(shared=shared)


def _gain(found: Spectrum, alpha: Float[Array, ""]) -> Float[Array, "p r"]:
    return found.part * (jax.lax.rsqrt((1 - alpha) * found.largest + alpha) - alpha**-0.5)


@in_float32
def apply(stats: Whitening, features: Samples) -> Samples:
    """Return x0 = s·W(f − μ) (n, *event) of features (n, *event), channels last."""
    z = (_vectors(features) - stats.mean) @ stats.shared - stats.offset
    along = jnp.einsum("npc,prc->npr", z, stats.basis) * stats.gain
    x0 = stats.rest * z + jnp.einsum("npr,prc->npc", along, stats.basis)
    return (stats.scale * x0).reshape(features.shape)


def some(vectors: Float[Array, "n p c"]) -> Float[Array, "n q c"]:
    """Return every k-th position: ``SOME``, or up to twice as many."""
    return vectors[:, :: _spacing(vectors.shape[1])]


def _spacing(positions: int) -> int:
    return max(1, positions // SOME)


def _over_folds(
    vectors: Float[Array, "n p c"],
    rank: Rank,
    folds: int,
    value: Callable[[Spectrum, Float[Array, " n"]], Float[Array, "*values"]],
    near: Neighbours | None = None,
) -> Float[Array, "*values"]:
    """Return the sum of ``value(spectrum, left_out)`` over folds; left_out is 1 in the fold."""
    fold = jnp.arange(vectors.shape[0]) % folds

    def one(k: Array) -> Float[Array, "*values"]:
        left_out = (fold == k).astype(vectors.dtype)
        return value(spectrum(vectors, 1 - left_out, rank, near), left_out)

    return jnp.sum(jax.lax.map(one, jnp.arange(folds)), axis=0)


def _volume(stats: Whitening) -> Float[Array, " p"]:
    """Return log|det sW| of each position."""
    c = stats.shared.shape[0]
    along = jnp.sum(jnp.log(stats.rest + stats.gain) - jnp.log(stats.rest), axis=-1)
    return along + jnp.linalg.slogdet(stats.shared)[1] + c * jnp.log(stats.rest * stats.scale)


def _nats(stats: Whitening, squares: Float[Array, " n"]) -> Float[Array, " n"]:
    """Return log N(f; μ, Σ/s²) of maps by their ‖x0‖²."""
    p, c = stats.offset.shape
    return jnp.sum(_volume(stats)) - 0.5 * (squares + p * c * jnp.log(2 * jnp.pi))


@in_float32
def _squares(
    found: Spectrum, alphas: Float[Array, " k"], vectors: Float[Array, "n p c"]
) -> Float[Array, "k n"]:
    """Return ‖x0‖² of each map for each α, with scale 1; one set of products serves all α."""
    z = (vectors - found.mean) @ found.shared - found.centre
    along = jnp.einsum("npc,prc->npr", z, found.basis)
    centre_along = jnp.einsum("pc,prc->pr", found.centre, found.basis)

    def one(alpha: Float[Array, ""]) -> Float[Array, " n"]:
        # z less the blended mean (1 − α)·centre.
        everywhere = jnp.square(z + alpha * found.centre) / alpha
        rest = alpha**-0.5
        gain = jnp.square(rest + _gain(found, alpha)) - jnp.square(rest)
        explained = jnp.square(along + alpha * centre_along) * gain
        return jnp.sum(everywhere, axis=(1, 2)) + jnp.sum(explained, axis=(1, 2))

    return jax.lax.map(one, alphas)


@in_float32
def _rare_squares(found: Spectrum, vectors: Float[Array, "n p c"]) -> Float[Array, " n"]:
    """Return ‖x0‖² of each map for ``TOGETHER``, with scale 1."""
    return jnp.sum(jnp.square((vectors - found.mean) @ found.rare), axis=(1, 2))


@partial(jax.jit, static_argnames=("ranks", "folds", "near"))
def _fit(
    features: Samples,
    alphas: Float[Array, " k"],
    ranks: tuple[Rank, Rank],
    folds: int,
    near: float,
) -> Whitening:
    """Fit with the only α; or, of three, the first if the second is likelier than the third.

    Likelier means the log-likelihood of left-out samples; otherwise the third is taken. ``ranks``
    are the ranks for all samples and for all folds but one.
    """
    vectors, grid = _vectors(features), features.shape[1:-1]
    few = some(vectors)
    around = neighbours(grid, near, _spacing(vectors.shape[1])) if near else None
    needed = few if around is None else vectors[:, around.needed]

    def value(found: Spectrum, left_out: Float[Array, " n"]) -> Float[Array, "2 k"]:
        squares = _squares(found, alphas, few)
        nats = jax.vmap(lambda alpha, own: _nats(unscaled(found, alpha), own))(alphas, squares)
        squares = jnp.where(alphas[:, None] == TOGETHER, _rare_squares(found, few), squares)
        return jnp.sum(jnp.stack([squares, nats]) * left_out, axis=-1)

    totals, nats = _over_folds(needed, ranks[1], folds, value, around)
    evidence = (nats[len(nats) // 2] - nats[-1]) / few.size
    best = jnp.where(evidence >= 0, 0, len(nats) - 1)
    found = _map(_whole(features, ranks[0], near), alphas[best])
    # Constant features are mapped to zero at any scale.
    total = totals[best]
    scale = jnp.where(total > 0, jnp.sqrt(few.size / jnp.where(total > 0, total, 1.0)), 1.0)
    return found._replace(scale=scale, evidence=evidence)


def _whole(features: Samples, rank: Rank, near: float) -> Spectrum:
    """Fit on all samples at all positions."""
    around = neighbours(features.shape[1:-1], near) if near else None
    return spectrum(_vectors(features), jnp.ones(features.shape[0]), rank, around)


@partial(jax.jit, static_argnames=("rank", "near"))
def _like(stats: Whitening, features: Samples, rank: Rank, near: float) -> Whitening:
    """Fit to other samples, with the α and the scale of ``stats``."""
    found = _whole(features, rank, near)
    same = {"scale": stats.scale, "evidence": stats.evidence}
    return _map(found, stats.rest**-2)._replace(**same)


def log_likelihood(stats: Whitening, features: Samples) -> Float[Array, " n"]:
    """Return log N(f; μ, Σ/s²) of each map in nats (n,), positions taken as independent.

    It is log N(x0; 0, I) + log|det sW| for features (n, *event).
    """
    return _nats(stats, jnp.sum(jnp.square(_vectors(apply(stats, features))), axis=(1, 2)))


@partial(jax.jit, static_argnames=("rank", "folds"))
def _held_out(features: Samples, alpha: Float[Array, ""], rank: Rank, folds: int) -> Array:
    vectors = some(_vectors(features))

    def nats(found: Spectrum, left_out: Float[Array, " n"]) -> Float[Array, ""]:
        return jnp.sum(log_likelihood(unscaled(found, alpha), vectors) * left_out)

    return _over_folds(vectors, rank, folds, nats) / vectors.size


def held_out_log_likelihood(
    features: Samples, *, alpha: float = 0.1, rank: int = 64
) -> Float[Array, ""]:
    """Return how likely left-out good maps are, to choose α and rank from training images alone.

    Each fifth of the samples is left out in turn, at ``SOME`` positions. The scale stays 1: a
    fitted scale would compensate for a poor α.

    Args:
        features: as in ``Whiten.fit``; ``alpha`` and ``rank`` are its options, neither 0.

    Returns:
        Nats per element, a scalar; higher is better.
    """
    n, c = _counted(features)
    with lapack_on_one_thread():
        asked = jnp.float32(alpha), Rank.cut(min(rank, n, c)), min(FOLDS, n)
        return jax.block_until_ready(_held_out(jnp.asarray(features), *asked))


def _counted(features: Samples) -> tuple[int, int]:
    """Return the numbers of samples and channels; WTFlowError for fewer than 2 samples."""
    n, c = features.shape[0], features.shape[-1]
    if n < 2:
        raise WTFlowError(f"whiten: {n} training sample; give at least 2, or another WT map")
    return n, c


@MAPS.add("whiten")
@dataclass(frozen=True)
class Whiten(WTMap):
    """Whitening by each position's covariance."""

    alpha: float = 0.1
    """Weight of the covariance of all positions against each position's own; 0 takes 0.0001
    if left-out images show that positions differ, else 1."""
    rank: int = 64
    """Principal directions kept per position; 0 keeps as many as there are training images or
    channels, whichever are fewer, and takes the later ones away only in part."""
    near: float = 0.0
    """Weight of the next cell's covariance on each side, along each axis, with up to 320
    channels; 0: each position by itself."""

    isotropic = True
    kind = Whitening
    RANGES: ClassVar = {"alpha": (0, 1), "rank": (0, None), "near": (0, 0.5)}

    def __post_init__(self) -> None:
        """Raise WTFlowError for 0 < α < 1e-6, too small for float32."""
        if 0 < self.alpha < 1e-6:
            raise WTFlowError(f"--alpha {self.alpha:g}: give at least 1e-06, or 0")

    def _rank(self, n: int, c: int) -> Rank:
        return Rank.cut(min(self.rank, n, c)) if self.rank else Rank.tapering(min(n, c))

    def _near(self, features: Samples) -> float:
        # Without a grid there are no neighbours.
        return self.near if features.ndim == 4 and features.shape[-1] <= LARGEST else 0.0

    def fit(self, features: Samples) -> Whitening:
        """Return the statistics of training features (n, *event), n ≥ 2.

        Each fifth of the samples is left out in turn to fit the scale s: ‖x0‖² of left-out
        training maps averages D. (Lemma 6 states this for the fitted maps.) An α of 0 becomes
        ``APART`` if left-out maps are likelier at ``BETWEEN`` than at ``TOGETHER``, else
        ``TOGETHER``.

        Raises:
            WTFlowError: fewer than two samples.
        """
        n, c = _counted(features)
        folds = min(FOLDS, n)
        ranks = self._rank(n, c), self._rank(n - -(-n // folds), c)
        alphas = (self.alpha,) if self.alpha else (APART, BETWEEN, TOGETHER)
        with lapack_on_one_thread():
            asked = jnp.array(alphas, jnp.float32), ranks, folds, self._near(features)
            return jax.block_until_ready(_fit(jnp.asarray(features), *asked))

    def fit_like(self, stats: Whitening, features: Samples) -> Whitening:
        """Fit fewer samples, with the α and the scale of all samples."""
        rank = self._rank(*_counted(features))
        with lapack_on_one_thread():
            near = self._near(features)
            return jax.block_until_ready(_like(stats, jnp.asarray(features), rank, near))

    def choice(self, stats: Whitening) -> str:
        """Return what an α of 0 became, and the nats per element that decided."""
        if self.alpha:
            return ""
        nats = float(stats.evidence)
        how = "each position by itself" if nats >= 0 else "all positions as one"
        return f"{how} ({nats:+.2f} nats)"

    def apply(self, stats: Stats, features: Samples) -> Samples:
        """Return ``apply``."""
        return apply(stats, features)
