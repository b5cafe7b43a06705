"""Whitening per kind of image, for images that are not aligned and of several kinds.

Textures, or products photographed in any pose, are not aligned, so a covariance per position is of
no use. ``whiten`` then has one covariance for all positions. It is too wide for several kinds of
images: a defect of one kind looks like another kind. Here k-means groups images by their mean
features, and each kind has a mean and a covariance. Left-out images decide the number of kinds, and
whether kinds are better than statistics of each position.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from wtflow_jax.flow.maps import Stats, WTMap
from wtflow_jax.flow.maps.spectrum import TOGETHER, Rank, spectrum
from wtflow_jax.flow.maps.whitening import (
    FOLDS,
    Whiten,
    Whitening,
    apply,
    log_likelihood,
    some,
    unscaled,
)
from wtflow_jax.flow.types import Samples
from wtflow_jax.support.compilation import in_float32
from wtflow_jax.support.threads import lapack_on_one_thread

MOST = 4
"""Maximum number of kinds."""
FEWEST = 10
"""Minimum number of images per kind."""
ROWS = 5_000
"""Positions of all images that decide, or up to twice as many."""
WORTH = 0.01
"""Nats per element that left-out images must gain from one more kind."""


class Kinds(NamedTuple):
    """Statistics of k kinds of images, of c channels."""

    spread: Float[Array, " c"]  #: standard deviation of the images' mean features
    centres: Float[Array, "k c"]  #: centres of the kinds, divided by the spread
    mean: Float[Array, "k c"]  #: mean over all positions
    shared: Float[Array, "k c c"]  #: whitening matrices
    scale: Float[Array, " k"]  #: gives left-out images ‖x0‖² = D on average


def _rows(features: Samples) -> Float[Array, "m 1 c"]:
    return features.reshape(-1, 1, features.shape[-1])


@partial(jax.jit, static_argnames="rank")
def _left_out(
    rows: Samples, kept: Float[Array, " m"], out: Float[Array, " m"], rank: Rank
) -> Array:
    """Fit the rows where ``kept`` is 1; sum nats and mean squares of those where ``out`` is."""
    found = spectrum(rows, kept, rank)
    stats = unscaled(found, jnp.float32(TOGETHER))
    x0 = apply(stats._replace(shared=found.rare), rows)
    squares = jnp.mean(jnp.square(x0), axis=(1, 2))
    return jnp.stack([jnp.sum(part * out) for part in (log_likelihood(stats, rows), squares)])


@partial(jax.jit, static_argnames="rank")
def _own(rows: Samples, kept: Float[Array, " m"], rank: Rank) -> tuple[Array, Array]:
    found = spectrum(rows, kept, rank)
    return found.mean, found.rare


def _judged(
    features: Samples, labels: Int[np.ndarray, " n"], rank: Rank
) -> tuple[float, np.ndarray]:
    """Return the nats per element of left-out images, and the scale of each kind."""
    few = some(features.reshape(features.shape[0], -1, features.shape[-1]))
    few = few[:, :: max(1, few.shape[0] * few.shape[1] // ROWS)]
    rows, each = _rows(few), few.shape[1]
    fold = np.arange(len(labels)) % FOLDS
    nats, scales = 0.0, []
    for kind in range(labels.max() + 1):
        own, squares = labels == kind, 0.0
        # Each fold has its share of the kind.
        fold[own] = np.arange(own.sum()) % FOLDS
        for k in range(FOLDS):
            pair = (own & (fold != k), own & (fold == k))
            weights = (jnp.asarray(np.repeat(part, each), jnp.float32) for part in pair)
            found = np.asarray(_left_out(rows, *weights, rank), np.float64)
            nats, squares = nats + found[0], squares + found[1]
        scales.append((own.sum() * each / squares) ** 0.5 if squares > 0 else 1.0)
    return nats / few.size, np.array(scales, np.float32)


def _sorted(means: Float[np.ndarray, "n c"], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres of ``count`` kinds, and the kind of each image."""
    from sklearn.cluster import k_means

    with warnings.catch_warnings():
        # Identical images give a warning; they are of one kind.
        warnings.simplefilter("ignore")
        centres, labels, _ = k_means(means, count, n_init=10, random_state=0)  # pyright: ignore
    return np.asarray(centres, np.float32), np.asarray(labels)


def _means(features: Samples) -> Float[Array, "n c"]:
    return jnp.mean(features, axis=tuple(range(1, features.ndim - 1)))


def _kinds(stats: Kinds, features: Samples) -> Int[Array, " n"]:
    """Return for each image the kind with the nearest centre."""
    apart = (_means(features) / stats.spread)[:, None] - stats.centres
    return jnp.argmin(jnp.sum(jnp.square(apart), axis=-1), axis=-1)


@in_float32
def _apply(stats: Kinds, features: Samples) -> Samples:
    kinds = _kinds(stats, features).reshape(-1, *[1] * (features.ndim - 1))
    x0 = jnp.zeros_like(features)
    for kind in range(stats.mean.shape[0]):
        own = stats.scale[kind] * ((features - stats.mean[kind]) @ stats.shared[kind])
        x0 = jnp.where(kinds == kind, own, x0)
    return x0


@dataclass(frozen=True)
class ByKind(WTMap):
    """``whiten``, or one covariance per kind of images if left-out images are likelier then."""

    wt: Whiten
    """The map of one kind."""

    isotropic = True

    def fit(self, features: Samples) -> Stats:
        """Return the statistics of ``whiten``, or ``Kinds`` if left-out images are likelier.

        Kinds are added while each has ``FEWEST`` images and left-out images gain ``WORTH``. An α
        other than 0 and ``TOGETHER`` excludes them. Raises WTFlowError as ``Whiten.fit`` does.
        """
        whole = self.wt.fit(features)
        most = min(MOST, features.shape[0] // FEWEST)
        if self.wt.alpha not in (0, TOGETHER) or most < 2:
            return whole
        means = np.asarray(_means(features), np.float64)
        spread = np.maximum(means.std(axis=0), 1e-6)
        found, labels = None, np.zeros(len(means), int)
        with lapack_on_one_thread():
            one, _ = _judged(features, labels, self._rank)
            best = one
            for count in range(2, most + 1):
                centres, labels = _sorted(means / spread, count)
                if np.bincount(labels, minlength=count).min() < FEWEST:
                    break
                nats, scales = _judged(features, labels, self._rank)
                if nats < best + WORTH:
                    break
                found, best = (labels, spread, centres, scales), nats
            # The evidence is what statistics of each position gain on one kind.
            if found is None or best - one < float(whole.evidence):
                return whole
            return self._fitted(features, *found)

    @property
    def _rank(self) -> Rank:
        # One covariance for all positions needs no directions of their own.
        return Rank(1, 1 if self.wt.rank else 0)

    def _fitted(
        self, features: Samples, labels: np.ndarray, spread: Any, centres: Any, scales: Any
    ) -> Kinds:
        rows, each = _rows(features), features[0, ..., 0].size
        own = [np.repeat(labels == kind, each) for kind in range(len(centres))]
        # A kind without images is never used, but must be finite.
        some_or_all = [part if part.any() else np.ones_like(part) for part in own]
        fitted = [_own(rows, jnp.asarray(part, jnp.float32), self._rank) for part in some_or_all]
        mean, shared = (jnp.stack(part) for part in zip(*fitted, strict=True))
        own_means = jnp.asarray(spread, jnp.float32), jnp.asarray(centres)
        return Kinds(*own_means, mean=mean, shared=shared, scale=jnp.asarray(scales))

    def fit_like(self, stats: Stats, features: Samples) -> Stats:
        """Fit fewer samples, with the kinds and scales of all samples."""
        if isinstance(stats, Whitening):
            return self.wt.fit_like(stats, features)
        with lapack_on_one_thread():
            labels = np.asarray(_kinds(stats, features))
            return self._fitted(features, labels, stats.spread, stats.centres, stats.scale)

    def apply(self, stats: Stats, features: Samples) -> Samples:
        """Return x0 (n, *event) of features (n, *event), each image by its kind's statistics."""
        if isinstance(stats, Whitening):
            return apply(stats, features)
        return _apply(stats, features)

    def choice(self, stats: Stats) -> str:
        """Return the number of kinds, or what ``whiten`` chose."""
        if isinstance(stats, Whitening):
            return self.wt.choice(stats)
        return f"{len(stats.scale)} kinds of images, all positions as one"

    def restore(self, arrays: Mapping[str, Any]) -> Stats:
        """Return the statistics from their saved arrays by name."""
        return (Kinds if "centres" in arrays else Whitening)(**arrays) if arrays else ()
