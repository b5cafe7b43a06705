"""The exact velocity of a finite data set: what a network of any size would learn at best."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from wtflow_jax.types import Sample, Samples, Time

EARLIEST = 1e-4
"""The field is singular at t = 0: earlier times are answered as this one."""
NEAREST = 16
"""Data a block whose distances are taken by direct difference."""
BLOCK = 4096
"""Data looked at together, at most."""


class Partial(NamedTuple):
    """The posterior's sums over some of the data, relative to the nearest of them.

    Attributes:
        nearest: smallest ‖x − (1 − t)x_i‖².
        weight: Σ exp((nearest − ‖x − (1 − t)x_i‖²)/(2t²)).
        total: the same sum of x_i − c.
    """

    nearest: Float[Array, ""]
    weight: Float[Array, ""]
    total: Float[Array, " d"]


def _squared_distances(
    rows: Float[Array, "b d"], x: Float[Array, " d"], shrink: Time
) -> Float[Array, " b"]:
    """Return ‖x − shrink·row‖² of each row."""

    def direct(row: Float[Array, " d"]) -> Float[Array, ""]:
        return jnp.sum(jnp.square(x - shrink * row))

    if rows.shape[0] <= NEAREST or rows.shape[1] <= NEAREST:
        return jax.vmap(direct)(rows)
    dot = jnp.dot(rows, x, precision=jax.lax.Precision.HIGHEST)
    distances = jnp.sum(jnp.square(x)) - 2 * shrink * dot
    distances += jnp.square(shrink) * jnp.sum(jnp.square(rows), axis=1)
    # A product rounds at 1e-7·‖x‖², more than 2t² at early times: there the nearest decide.
    _, nearest = jax.lax.top_k(-jax.lax.stop_gradient(distances), NEAREST)
    return distances.at[nearest].set(jax.lax.map(lambda i: direct(rows[i]), nearest))


def _posterior(
    rows: Float[Array, "n d"], t: Time, x: Float[Array, " d"]
) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
    """Return the data's mean c, and E[x0 | x_t = x] − c.

    The data are gone through in blocks with a running minimum of the distance. About c the products
    are smaller, and so is what they lose by rounding.
    """
    n, d = rows.shape
    size = min(n, BLOCK, max(NEAREST, 2**22 // d))
    centre = jnp.mean(rows, axis=0)
    point = x - (1 - t) * centre

    def block(i: Int[Array, ""]) -> Partial:
        start = jnp.minimum(i * size, n - size)
        part = jax.lax.dynamic_slice(rows, (start, jnp.zeros_like(start)), (size, d)) - centre
        distances = _squared_distances(part, point, 1 - t)
        # The last block is a full one too: it begins among what the one before has seen.
        new = start + jnp.arange(size) >= i * size
        nearest = jax.lax.stop_gradient(jnp.min(jnp.where(new, distances, jnp.inf)))
        exponent = jnp.where(new, nearest - distances, 0.0) / (2 * jnp.square(t))
        weights = jnp.where(new, jnp.exp(exponent), 0.0)
        total = jnp.dot(weights, part, precision=jax.lax.Precision.HIGHEST)
        return Partial(nearest, jnp.sum(weights), total)

    def merge(so_far: Partial, i: Int[Array, ""]) -> tuple[Partial, None]:
        parts = so_far, block(i)
        nearest = jnp.minimum(parts[0].nearest, parts[1].nearest)
        scale = [jnp.exp((nearest - part.nearest) / (2 * jnp.square(t))) for part in parts]
        weight = sum(s * part.weight for s, part in zip(scale, parts, strict=True))
        total = sum(s * part.total for s, part in zip(scale, parts, strict=True))
        return Partial(nearest, jnp.asarray(weight), jnp.asarray(total)), None

    first = block(jnp.zeros((), jnp.int32))
    whole, _ = jax.lax.scan(merge, first, jnp.arange(1, -(-n // size)))
    return centre, whole.total / whole.weight


def posterior_mean(data: Samples, t: Time, x: Sample) -> Sample:
    """Return E[x0 | x_t = x] = Σ w_i x_i for data {x_i} and a Gaussian target.

    w = softmax(−‖x − (1 − t)x_i‖²/(2t²)).

    Args:
        data: (n, *event).
        t: a scalar in (0, 1]; below ``EARLIEST`` it is taken as that.
        x: one position (*event).

    Returns:
        (*event), float32.
    """
    t = jnp.maximum(t, EARLIEST)
    centre, mean = _posterior(data.reshape(data.shape[0], -1), t, x.reshape(-1))
    return (centre + mean).reshape(x.shape)


def empirical_velocity(data: Samples, t: Time, x: Sample) -> Sample:
    """Return u(x, t) = (x − E[x0 | x_t = x])/t, the exact minimiser of Eq. 4 for finite data.

    For the Gaussian target only: the others have no closed form. It is a ``velocity_fn`` whose
    parameters are the data. As t → 0 it tends to 0 on a data point and to (x − x*)/t off the data
    (x* the nearest), while its mean over x1 at (1 − t)x_i + t·x1 tends to −x_i: the initial
    singularity (Theorem 1). Memory beside the data: ``BLOCK`` numbers a position at most.

    Args:
        data: (n, *event), after the WT map.
        t: a scalar in [0, 1]; below ``EARLIEST`` it is taken as that.
        x: one position (*event).

    Returns:
        The velocity (*event), float32.
    """
    t = jnp.maximum(t, EARLIEST)
    centre, mean = _posterior(data.reshape(data.shape[0], -1), t, x.reshape(-1))
    # Both less the centre: on a data point the two are the same number.
    return ((x.reshape(-1) - centre - mean) / t).reshape(x.shape)
