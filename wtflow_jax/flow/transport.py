"""WT maps: the plain norm applied to features before coupling (Algorithm 1, line 2; Sec. III-D).

A map is two pure functions: ``fit(features) -> stats`` on the training features, once, and
``apply(stats, features) -> x0`` in training and in inference alike. Statistics travel as arguments.
A WT map is not a norm layer in front of the network: it moves the data themselves (Table XI).
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from wtflow_jax.flow import whitening
from wtflow_jax.flow.types import Samples

EPSILON = 1e-5
"""Added to a variance before its root is taken."""


Stats: TypeAlias = Any
"""What a map has fitted: a pytree of arrays, empty where it needs none."""


class ChannelStats(NamedTuple):
    """One number a channel."""

    mean: Float[Array, " c"]
    variance: Float[Array, " c"]


Fit: TypeAlias = Callable[..., Stats]
Apply: TypeAlias = Callable[[Stats, Samples], Samples]


class WTMap(NamedTuple):
    """A worst-transport map.

    Attributes:
        fit: training features (n, *event) -> statistics; ``whiten`` takes options.
        apply: statistics and features (n, *event) -> x0 (n, *event).
        fit_batches: as ``fit``, of features that come in batches; None where all must be at hand.
    """

    fit: Fit
    apply: Apply
    fit_batches: Callable[[Iterable[Samples]], Stats] | None = None


def _no_stats(features: Samples) -> Stats:
    return ()


def _identity(stats: Stats, features: Samples) -> Samples:
    return features


def _channel_stats(features: Samples) -> ChannelStats:
    axes = tuple(range(features.ndim - 1))
    return ChannelStats(jnp.mean(features, axes), jnp.var(features, axes))


def _no_stats_of_batches(batches: Iterable[Samples]) -> Stats:
    return ()


def _channel_stats_of_batches(batches: Iterable[Samples]) -> ChannelStats:
    """Merge means and sums of squares in float64 (Chan, Golub, LeVeque, 1979)."""
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for batch in batches:
        rows = np.asarray(batch, np.float64).reshape(-1, batch.shape[-1])
        shift, n = rows.mean(0) - mean, count + len(rows)
        squares = squares + len(rows) * rows.var(0) + shift**2 * count * len(rows) / n
        count, mean = n, mean + shift * len(rows) / n
    return ChannelStats(*(jnp.asarray(part, jnp.float32) for part in (mean, squares / count)))


def _batch_norm(stats: Stats, features: Samples) -> Samples:
    return (features - stats.mean) / jnp.sqrt(stats.variance + EPSILON)


def _layer_norm(stats: Stats, features: Samples) -> Samples:
    axes = tuple(range(1, features.ndim))
    mean = jnp.mean(features, axes, keepdims=True)
    variance = jnp.var(features, axes, keepdims=True)
    return (features - mean) / jnp.sqrt(variance + EPSILON)


def power(features: Samples, exponent: float) -> Samples:
    """Return sign(f)·|f|^exponent of each element, to be applied before a map.

    Rectified features are sparse with a long tail, and no affine map shortens it; a square root
    does (power normalization: Perronnin, Sánchez, Mensink, ECCV 2010). 1 changes nothing.

    Args:
        features: (n, *event).
        exponent: above 0.
    """
    return features if exponent == 1 else jnp.sign(features) * jnp.abs(features) ** exponent


MAPS = {
    "none": WTMap(_no_stats, _identity, _no_stats_of_batches),
    "batch_norm": WTMap(_channel_stats, _batch_norm, _channel_stats_of_batches),
    "layer_norm": WTMap(_no_stats, _layer_norm, _no_stats_of_batches),
    "whiten": WTMap(whitening.fit, whitening.apply),
}
"""By name.

``none``: x0 = f, plain rFM. ``batch_norm``: μ, σ per channel over the training set (suppl. Eq. 40
writes batch statistics); the mean of ‖x0‖² over that set is then D (Lemma 6). ``layer_norm``: μ, σ
per sample over all D elements, population variance; ‖x0‖ = √D up to ``EPSILON`` (Lemma 5).
``whiten``: every position's whole covariance, see ``whitening``.
"""
