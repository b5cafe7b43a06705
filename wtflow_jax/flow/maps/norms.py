"""The paper's maps: none, batch_norm and layer_norm."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from wtflow_jax.flow.maps import MAPS, Stats, WTMap
from wtflow_jax.flow.types import Samples

EPSILON = 1e-5
"""Added to a variance before its root is taken."""


class ChannelStats(NamedTuple):
    """One number a channel."""

    mean: Float[Array, " c"]
    variance: Float[Array, " c"]


@MAPS.add("none")
@dataclass(frozen=True)
class Identity(WTMap):
    """x0 = f: plain rFM."""

    streams = True

    def apply(self, stats: Stats, features: Samples) -> Samples:
        """Return the features."""
        return features


@MAPS.add("batch_norm")
@dataclass(frozen=True)
class BatchNorm(WTMap):
    """μ, σ per channel over the training set (suppl. Eq. 40 writes batch statistics).

    The mean of ‖x0‖² over that set is then D (Lemma 6).
    """

    streams = True
    kind = ChannelStats

    def fit(self, features: Samples) -> ChannelStats:
        """Return mean and variance of each channel."""
        axes = tuple(range(features.ndim - 1))
        return ChannelStats(jnp.mean(features, axes), jnp.var(features, axes))

    def fit_batches(self, batches: Iterable[Samples]) -> ChannelStats:
        """Merge means and sums of squares in float64 (Chan, Golub, LeVeque, 1979)."""
        count, mean, squares = 0, np.zeros(()), np.zeros(())
        for batch in batches:
            rows = np.asarray(batch, np.float64).reshape(-1, batch.shape[-1])
            shift, n = rows.mean(0) - mean, count + len(rows)
            squares = squares + len(rows) * rows.var(0) + shift**2 * count * len(rows) / n
            count, mean = n, mean + shift * len(rows) / n
        return ChannelStats(*(jnp.asarray(part, jnp.float32) for part in (mean, squares / count)))

    def apply(self, stats: Stats, features: Samples) -> Samples:
        """Return (f − μ) / σ."""
        return (features - stats.mean) / jnp.sqrt(stats.variance + EPSILON)


@MAPS.add("layer_norm")
@dataclass(frozen=True)
class LayerNorm(WTMap):
    """μ, σ per sample over all D elements, population variance.

    ‖x0‖ = √D up to ``EPSILON`` (Lemma 5).
    """

    position = False
    streams = True

    def apply(self, stats: Stats, features: Samples) -> Samples:
        """Return (f − μ) / σ."""
        axes = tuple(range(1, features.ndim))
        mean = jnp.mean(features, axes, keepdims=True)
        variance = jnp.var(features, axes, keepdims=True)
        return (features - mean) / jnp.sqrt(variance + EPSILON)
