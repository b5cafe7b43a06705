"""Whitening for each kind of images, where positions mean nothing and there are several kinds.

Textures, or products photographed anyhow, have no alignment that a covariance a position could use.
One covariance for all is then what ``whiten`` has, and it is loose where images are of several
kinds: a defect of one kind looks like another. Here images are sorted by the mean of their
features (k-means), and each kind has a mean and a covariance. Left-out images say how many kinds.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from wtflow_jax.flow.maps import Stats, WTMap
from wtflow_jax.flow.maps.whitening import (
    FOLDS,
    TOGETHER,
    Whiten,
    Whitening,
    apply,
    log_likelihood,
    some,
    spectrum,
    unscaled,
)
from wtflow_jax.flow.types import Samples
from wtflow_jax.support.compilation import in_float32
from wtflow_jax.support.threads import lapack_on_one_thread

MOST = 4
"""Kinds, at most."""
FEWEST = 10
"""Images of a kind, at least."""
WORTH = 0.01
"""Nats an element that left-out images must gain by one kind more."""


class Kinds(NamedTuple):
    """Statistics of k kinds of images, of c channels."""

    spread: Float[Array, " c"]  #: of images' mean features
    centres: Float[Array, "k c"]  #: of their kinds, divided by the spread
    mean: Float[Array, "k c"]  #: of all positions
    shared: Float[Array, "k c c"]  #: what whitens them
    scale: Float[Array, " k"]  #: that left-out images have ‖x0‖² = D by


def _rows(features: Samples) -> Float[Array, "m 1 c"]:
    return features.reshape(-1, 1, features.shape[-1])


@jax.jit
def _left_out(rows: Samples, kept: Float[Array, " m"], out: Float[Array, " m"]) -> Array:
    """Return nats and mean squares of rows where ``out`` is 1, by those where ``kept`` is."""
    stats = unscaled(spectrum(rows, kept, 1), jnp.float32(TOGETHER))
    squares = jnp.mean(jnp.square(apply(stats, rows)), axis=(1, 2))
    return jnp.stack([jnp.sum(part * out) for part in (log_likelihood(stats, rows), squares)])


@jax.jit
def _own(rows: Samples, kept: Float[Array, " m"]) -> tuple[Array, Array]:
    found = spectrum(rows, kept, 1)
    return found.mean, found.shared


def _judged(features: Samples, labels: Int[np.ndarray, " n"]) -> tuple[float, np.ndarray]:
    """Return nats an element of left-out images, and of each kind the scale that they ask for."""
    few = some(features.reshape(features.shape[0], -1, features.shape[-1]))
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
            found = np.asarray(_left_out(rows, *weights), np.float64)
            nats, squares = nats + found[0], squares + found[1]
        scales.append((own.sum() * each / squares) ** 0.5 if squares > 0 else 1.0)
    return nats / few.size, np.array(scales, np.float32)


def _sorted(means: Float[np.ndarray, "n c"], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres of so many kinds, and of each image its kind."""
    from sklearn.cluster import k_means

    with warnings.catch_warnings():
        # Of images that are all alike: they are of one kind then.
        warnings.simplefilter("ignore")
        centres, labels, _ = k_means(means, count, n_init=10, random_state=0)  # pyright: ignore
    return np.asarray(centres, np.float32), np.asarray(labels)


def _means(features: Samples) -> Float[Array, "n c"]:
    return jnp.mean(features, axis=tuple(range(1, features.ndim - 1)))


def _kinds(stats: Kinds, features: Samples) -> Int[Array, " n"]:
    """Return of each image the kind whose centre is nearest."""
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
    """``whiten``; and each kind of images apart, where it takes all positions as one."""

    wt: Whiten
    """Of images of one kind."""

    isotropic = True

    def fit(self, features: Samples) -> Stats:
        """Return the statistics of ``whiten``, or ``Kinds`` where left-out images are likelier.

        One kind more is taken as long as each has ``FEWEST`` images and left-out ones gain
        ``WORTH``. WTFlowError as ``Whiten.fit``.
        """
        whole = self.wt.fit(features)
        most = min(MOST, features.shape[0] // FEWEST)
        if float(whole.rest) != TOGETHER or most < 2:
            return whole
        means = np.asarray(_means(features), np.float64)
        spread = np.maximum(means.std(axis=0), 1e-6)
        found, labels = None, np.zeros(len(means), int)
        with lapack_on_one_thread():
            best, _ = _judged(features, labels)
            for count in range(2, most + 1):
                centres, labels = _sorted(means / spread, count)
                if np.bincount(labels, minlength=count).min() < FEWEST:
                    break
                nats, scales = _judged(features, labels)
                if nats < best + WORTH:
                    break
                found, best = self._fitted(features, labels, spread, centres, scales), nats
        return found or whole

    def _fitted(
        self, features: Samples, labels: np.ndarray, spread: Any, centres: Any, scales: Any
    ) -> Kinds:
        rows, each = _rows(features), features[0, ..., 0].size
        own = [np.repeat(labels == kind, each) for kind in range(len(centres))]
        # A kind that nothing is left of is not asked for, and must be finite.
        some_or_all = [part if part.any() else np.ones_like(part) for part in own]
        fitted = [_own(rows, jnp.asarray(part, jnp.float32)) for part in some_or_all]
        mean, shared = (jnp.stack(part) for part in zip(*fitted, strict=True))
        own_means = jnp.asarray(spread, jnp.float32), jnp.asarray(centres)
        return Kinds(*own_means, mean=mean, shared=shared, scale=jnp.asarray(scales))

    def fit_like(self, stats: Stats, features: Samples) -> Stats:
        """Return the statistics of fewer samples, with the kinds and scales of all of them."""
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
        """Return how many kinds there are, or what ``whiten`` has chosen."""
        if isinstance(stats, Whitening):
            return self.wt.choice(stats)
        return f"{len(stats.scale)} kinds of images, all positions as one"

    def restore(self, arrays: Mapping[str, Any]) -> Stats:
        """Return the statistics of arrays by name."""
        return (Kinds if "centres" in arrays else Whitening)(**arrays) if arrays else ()
