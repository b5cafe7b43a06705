"""The exact velocity of a finite data set: the best that a network of any size can learn."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from wtflow_jax.flow.types import Sample, Samples, Time

EARLIEST = 1e-4
"""The field is singular at t = 0: smaller t are replaced by this one."""
NEAREST = 16
"""Points per block whose distances are computed by direct difference."""
BLOCK = 4096
"""Maximum number of points per block."""


class Partial(NamedTuple):
    """The posterior's sums over some points, relative to the nearest of these points."""

    squared: Float[Array, ""]  # smallest ‖x − (1 − t)x_i‖²
    nearest: Float[Array, " d"]  # the x_i of ``squared``
    weight: Float[Array, ""]  # Σ exp((squared − ‖x − (1 − t)x_i‖²)/(2t²))
    total: Float[Array, " d"]  # weighted sum of x_i − nearest: exactly 0 for a single point


def _squared_distances(
    rows: Float[Array, "b d"], x: Float[Array, " d"], shrink: Time
) -> Float[Array, " b"]:
    """Return ‖x − shrink·row‖² of each row."""

    def direct(row: Float[Array, " d"]) -> Float[Array, ""]:
        return jnp.sum(jnp.square(x - shrink * row))

    if rows.shape[1] == 1:
        # XLA removes a sum of one term and recomputes the term for each use, rounded differently.
        rows, x = jnp.pad(rows, ((0, 0), (0, 1))), jnp.pad(x, (0, 1))
    if rows.shape[0] <= NEAREST or rows.shape[1] <= NEAREST:
        return jax.vmap(direct)(rows)
    dot = jnp.dot(rows, x, precision=jax.lax.Precision.HIGHEST)
    distances = jnp.sum(jnp.square(x)) - 2 * shrink * dot
    distances += jnp.square(shrink) * jnp.sum(jnp.square(rows), axis=1)
    # A product rounds at 1e-7·‖x‖², more than 2t² at early times, when the nearest points decide.
    _, nearest = jax.lax.top_k(-jax.lax.stop_gradient(distances), NEAREST)
    return distances.at[nearest].set(jax.lax.map(lambda i: direct(rows[i]), nearest))


def _posterior(data: Samples, t: Time, x: Sample) -> Partial:
    """Return the sums over all data, block by block with a running minimum of the distance."""
    x, rows = x.reshape(-1), data.reshape(data.shape[0], -1)
    n, d = rows.shape
    size = min(n, BLOCK, max(NEAREST, 2**22 // d))
    # Centred at the mean, products are smaller, and so are their rounding errors.
    centre = jnp.mean(rows, axis=0)
    point = x - (1 - t) * centre

    def block(i: Int[Array, ""]) -> Partial:
        start = jnp.minimum(i * size, n - size)
        raw = jax.lax.dynamic_slice(rows, (start, jnp.zeros_like(start)), (size, d))
        part = raw - centre
        distances = _squared_distances(part, point, 1 - t)
        # The last block is full too: it overlaps the block before.
        new = start + jnp.arange(size) >= i * size
        best = jnp.argmin(jnp.where(new, distances, jnp.inf))
        squared = jax.lax.stop_gradient(distances[best])
        exponent = jnp.where(new, squared - distances, 0.0) / (2 * jnp.square(t))
        weights = jnp.where(new, jnp.exp(exponent), 0.0)
        total = jnp.dot(weights, part, precision=jax.lax.Precision.HIGHEST)
        weight = jnp.sum(weights)
        return Partial(squared, raw[best], weight, total - weight * part[best])

    def merge(so_far: Partial, i: Int[Array, ""]) -> tuple[Partial, None]:
        parts = a, b = so_far, block(i)
        squared = jnp.minimum(a.squared, b.squared)
        nearest = jnp.where(a.squared <= b.squared, a.nearest, b.nearest)
        scale = [jnp.exp((squared - part.squared) / (2 * jnp.square(t))) for part in parts]
        weight = scale[0] * a.weight + scale[1] * b.weight
        moved = [part.total + part.weight * (part.nearest - nearest) for part in parts]
        return Partial(squared, nearest, weight, scale[0] * moved[0] + scale[1] * moved[1]), None

    first = block(jnp.zeros((), jnp.int32))
    return jax.lax.scan(merge, first, jnp.arange(1, -(-n // size)))[0]


def _mean(data: Samples, t: Time, x: Sample) -> tuple[Sample, Sample]:
    """Return the datum x* with the largest weight, and E[x0 | x_t = x] − x*."""
    whole = _posterior(data, t, x)
    return whole.nearest.reshape(x.shape), (whole.total / whole.weight).reshape(x.shape)


def posterior_mean(data: Samples, t: Time, x: Sample) -> Sample:
    """Return E[x0 | x_t = x] = Σ w_i x_i for data {x_i} and a Gaussian target.

    w = softmax(−‖x − (1 − t)x_i‖²/(2t²)). Arguments as in ``empirical_velocity``.
    """
    t = jnp.maximum(t, EARLIEST)
    nearest, rest = _mean(data, t, x)
    return nearest + rest


def empirical_velocity(data: Samples, t: Time, x: Sample) -> Sample:
    """Return u(x, t) = (x − E[x0 | x_t = x])/t, the exact minimiser of Eq. 4 for finite data.

    For the Gaussian target only: the others have no closed form. It is a ``velocity_fn`` whose
    parameters are the data. As t → 0 it tends to 0 on a data point and to (x − x*)/t off the data
    (x* the nearest), while its mean over x1 at (1 − t)x_i + t·x1 tends to −x_i: the initial
    singularity (Theorem 1). Memory besides the data: at most ``BLOCK`` numbers per position.

    Squared distances are float32. From ‖x − (1 − t)x_i‖ = 1.8e19 on the result is NaN. Points whose
    squared distances differ by less than about 1e-6 (relative) are not distinguished at any t.

    Args:
        data: (n, *event), after the WT map.
        t: a scalar in [0, 1]; values below ``EARLIEST`` are raised to it.
        x: one position (*event); the velocity has this shape.
    """
    t = jnp.maximum(t, EARLIEST)
    nearest, rest = _mean(data, t, x)
    return (x - nearest - rest) / t


def score(data: Samples, t: Time, x: Sample) -> Sample:
    """Return ∇ log p_t(x) (*event); arguments as in ``empirical_velocity``."""
    t = jnp.maximum(t, EARLIEST)
    nearest, rest = _mean(data, t, x)
    return (((1 - t) * nearest - x) + (1 - t) * rest) / jnp.square(t)


def log_density(data: Samples, t: Time, x: Sample) -> Float[Array, ""]:
    """Return log p_t(x) in nats; arguments as in ``empirical_velocity``.

    p_t is a mixture of Gaussians of standard deviation t. At t = 0 it has no density.
    """
    t = jnp.maximum(t, EARLIEST)
    whole = _posterior(data, t, x)
    own = -0.5 * whole.squared / jnp.square(t) - 0.5 * x.size * jnp.log(2 * jnp.pi * jnp.square(t))
    return own + jnp.log(whole.weight) - jnp.log(data.shape[0])
