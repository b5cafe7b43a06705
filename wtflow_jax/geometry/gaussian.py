"""The exact velocity of Gaussian data, with one Gaussian for each position of a map.

For x0 ~ N(μ, Σ) and x1 ~ N(0, I) the position x_t = (1 − t)·x0 + t·x1 is Gaussian too, with mean
(1 − t)·μ and covariance Σ_t = (1 − t)²·Σ + t²·I. With w = Σ_t⁻¹(x − (1 − t)·μ) its score is −w, and
E[x0 | x_t = x] = μ + (1 − t)·Σw, E[x1 | x_t = x] = t·w, so u = t·w − μ − (1 − t)·Σw. The flow of u
ends at Σ^(−1/2)(x0 − μ): ZCA whitening, whose length is the Mahalanobis distance, the score of
PaDiM (docs/method.md).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float

from wtflow_jax.flow.maps.whitening import Whitening
from wtflow_jax.flow.types import Sample, Samples, Time
from wtflow_jax.support.compilation import in_float32


class Gaussian(NamedTuple):
    """The law N(μ, Σ) of p positions of c channels: Σ = Q(diag(spread) + UᵀEU)Qᵀ at each."""

    mean: Float[Array, "p c"]  #: μ
    axes: Float[Array, "c c"]  #: Q, orthogonal, shared by all positions
    spread: Float[Array, " c"]  #: variances along these axes, shared by all positions
    basis: Float[Array, "p r c"]  #: U: further directions of each position, in these axes
    excess: Float[Array, "p r"]  #: E: additional variances along them; at least zero


@in_float32
def of_whitening(stats: Whitening) -> Gaussian:
    """Return the law that a whitening assumes of features: it maps this law to N(0, I)."""
    values, axes = jnp.linalg.eigh(stats.shared)
    roots, square = 1 / values, jnp.square(stats.scale)
    mean = stats.mean + ((stats.offset @ axes) * roots) @ axes.T
    spread = jnp.square(roots / stats.rest) / square
    excess = ((stats.rest + stats.gain) ** -2 - stats.rest**-2) / square
    return Gaussian(mean, axes, spread, (stats.basis @ axes) * roots, jnp.maximum(excess, 0))


@in_float32
def of_samples(x0: Samples, ridge: float = 0.01) -> Gaussian:
    """Return PaDiM's law of samples (n, *event), n ≥ 2: their covariance plus ``ridge``·I.

    The last axis is the channels. Each position has its own full covariance (divisor n − 1).
    """
    vectors = jnp.swapaxes(x0.reshape(x0.shape[0], -1, x0.shape[-1]), 0, 1)
    mean = jnp.mean(vectors, axis=1)
    _, sizes, basis = jnp.linalg.svd(vectors - mean[:, None], full_matrices=False)
    c = x0.shape[-1]
    excess = jnp.square(sizes) / (x0.shape[0] - 1)
    return Gaussian(mean, jnp.eye(c), jnp.full(c, ridge), basis, excess)


class At(NamedTuple):
    """Vectors at time t, one per position, in the axes of the law."""

    residual: Float[Array, "p c"]  #: x − (1 − t)μ
    solved: Float[Array, "p c"]  #: w
    along: Float[Array, "p c"]  #: UᵀEUw
    log_volume: Float[Array, " p"]  #: log det Σ_t

    def log_density(self) -> Float[Array, " p"]:
        """Return log p_t of each position, in nats."""
        distance = jnp.sum(self.residual * self.solved, axis=-1)
        return -0.5 * (distance + self.log_volume + self.solved.shape[-1] * jnp.log(2 * jnp.pi))

    def drift(self, law: Gaussian, t: Time) -> Float[Array, "p c"]:
        """Return u + μ of each position."""
        return t * self.solved - (1 - t) * (law.spread * self.solved + self.along)


def at(law: Gaussian, t: Time, y: Float[Array, "p c"]) -> At:
    """Solve Σ_t w = y by Woodbury's identity with r × r matrices; y is in the law's axes."""
    shared = jnp.sqrt(jnp.square(1 - t) * law.spread + jnp.square(t))
    # With V = E^½U(spread_t)^(−½) and M = I + (1 − t)²VVᵀ the rest of w is (1 − t)²VᵀM⁻¹Vz, and
    # UᵀEUw is made of the same VᵀM⁻¹Vz: V is read twice, not four times.
    v = jnp.sqrt(law.excess)[..., None] * law.basis / shared
    identity = jnp.eye(v.shape[1], dtype=v.dtype)
    root = jnp.linalg.cholesky(identity + jnp.square(1 - t) * (v @ v.mT))
    z = y / shared
    back = (v.mT @ cho_solve((root, True), v @ z[..., None]))[..., 0]
    diagonal = jnp.diagonal(root, axis1=-2, axis2=-1)
    volume = jnp.sum(jnp.log(shared)) + jnp.sum(jnp.log(diagonal), axis=-1)
    return At(y, (z - jnp.square(1 - t) * back) / shared, back * shared, 2 * volume)


def _of(law: Gaussian, t: Time, x: Sample) -> At:
    """Return ``at`` for one sample x, the vectors of all positions."""
    t = t.astype(x.dtype)
    return at(law, t, (x.reshape(law.mean.shape) - (1 - t) * law.mean) @ law.axes)


@in_float32
def gaussian_velocity(law: Gaussian, t: Time, x: Sample) -> Sample:
    """Return u(x, t), the exact minimiser of Eq. 4 for Gaussian data; a ``velocity_fn``.

    At t = 0 it is −x, whatever the law (Theorem 1), and at t = 1 x − μ.

    Args:
        law: the law of x0, for example from ``of_whitening``.
        t: a scalar in [0, 1].
        x: one sample (*event) of p·c numbers, channels last; the velocity has this shape.
    """
    u = _of(law, t, x).drift(law, t) @ law.axes.T - law.mean
    return u.reshape(x.shape).astype(x.dtype)


@in_float32
def score(law: Gaussian, t: Time, x: Sample) -> Sample:
    """Return ∇ log p_t(x) (*event); arguments as in ``gaussian_velocity``."""
    return -(_of(law, t, x).solved @ law.axes.T).reshape(x.shape)


@in_float32
def log_density(law: Gaussian, t: Time, x: Sample) -> Float[Array, ""]:
    """Return log p_t(x) in nats; arguments as in ``gaussian_velocity``."""
    return jnp.sum(_of(law, t, x).log_density())
