"""The exact velocity of a mixture of Gaussians: from one Gaussian in all to one per data point.

For x0 ~ Σ_k w_k·N(μ_k, Σ_k) and x1 ~ N(0, I) the position x_t is a mixture too, of the Gaussians at
time t with the same weights. With responsibilities r = softmax(log w + log p_k(x, t)) its velocity
and its score are Σ r_k·u_k and Σ r_k·∇log p_k, as both are expectations given x_t. One component
gives ``gaussian``; one component per data point, without spread, ``empirical`` (docs/method.md).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from wtflow_jax.flow.maps.spectrum import RIDGE, SMALLEST
from wtflow_jax.flow.types import Sample, Time
from wtflow_jax.geometry.gaussian import Gaussian
from wtflow_jax.support.compilation import in_float32


class Mixture(NamedTuple):
    """Σ_k w_k·N(μ_k, Σ_k) on vectors of c channels."""

    log_weights: Float[Array, " k"]
    parts: Gaussian  #: its axis p of positions holds the k components


class Answer(NamedTuple):
    """The posterior of a vector at time t; ``solved`` and ``along`` are in the law's axes."""

    joint: Float[Array, " k"]  #: log w_k + log p_k
    share: Float[Array, " k"]  #: r
    solved: Float[Array, " c"]  #: Σ_k r_k·Σ_t,k⁻¹(x − (1 − t)μ_k)
    along: Float[Array, " c"]  #: the same sum, each term times its UᵀEU


def _answer(law: Mixture, t: Time, x: Sample) -> Answer:
    """Solve for all components at once, by Woodbury's identity as ``gaussian.at`` does.

    All share the axes, so x is rotated once. Two products take the directions of all components:
    no component needs its own vector of c numbers.
    """
    t, parts = t.astype(x.dtype), law.parts
    shared = jnp.sqrt(jnp.square(1 - t) * parts.spread + jnp.square(t))
    # Centred at the mean of the components, where squares are smallest.
    middle = jnp.mean(parts.mean, axis=0)
    means = (1 - t) * ((parts.mean - middle) @ parts.axes) / shared
    z = ((x.reshape(-1) - (1 - t) * middle) @ parts.axes) / shared
    v = jnp.sqrt(parts.excess)[..., None] * parts.basis / shared
    identity = jnp.eye(v.shape[1], dtype=v.dtype)
    root = jnp.linalg.cholesky(identity + jnp.square(1 - t) * (v @ v.mT))
    v = jax.lax.linalg.triangular_solve(root, v, left_side=True, lower=True)
    inner = v @ z - (v @ means[..., None])[..., 0]
    # ‖z − m_k‖² minus the part that the directions of k take.
    squares = jnp.sum(jnp.square(z)) - 2 * means @ z + jnp.sum(jnp.square(means), axis=1)
    squares -= jnp.square(1 - t) * jnp.sum(jnp.square(inner), axis=1)
    diagonal = jnp.diagonal(root, axis1=-2, axis2=-1)
    volume = jnp.sum(jnp.log(shared)) + jnp.sum(jnp.log(diagonal), axis=-1)
    joint = law.log_weights - 0.5 * (squares + 2 * volume + x.size * jnp.log(2 * jnp.pi))
    share = jax.nn.softmax(joint)
    back = jnp.einsum("kr,krc->c", share[:, None] * inner, v)
    solved = (z - share @ means - jnp.square(1 - t) * back) / shared
    return Answer(joint, share, solved, back * shared)


@in_float32
def mixture_velocity(law: Mixture, t: Time, x: Sample) -> Sample:
    """Return u(x, t), the exact minimiser of Eq. 4 for a mixture of Gaussians; a ``velocity_fn``.

    At t = 0 it is −x, whatever the law (Theorem 1), and at t = 1 x − E[x0].

    Args:
        law: the law of x0; each component's covariance has full rank.
        t: a scalar in [0, 1].
        x: one position (*event) of c numbers; the velocity has this shape.
    """
    found, parts = _answer(law, t, x), law.parts
    pulled = parts.spread * found.solved + found.along
    u = (t * found.solved - (1 - t) * pulled) @ parts.axes.T - found.share @ parts.mean
    return u.reshape(x.shape).astype(x.dtype)


@in_float32
def responsibilities(law: Mixture, t: Time, x: Sample) -> Float[Array, " k"]:
    """Return P(k | x_t = x), which sum to one; arguments as in ``mixture_velocity``."""
    return _answer(law, t, x).share


@in_float32
def score(law: Mixture, t: Time, x: Sample) -> Sample:
    """Return ∇ log p_t(x) (*event); arguments as in ``mixture_velocity``."""
    found = _answer(law, t, x)
    return -(found.solved @ law.parts.axes.T).reshape(x.shape)


@in_float32
def log_density(law: Mixture, t: Time, x: Sample) -> Float[Array, ""]:
    """Return log p_t(x) in nats; arguments as in ``mixture_velocity``."""
    return jax.nn.logsumexp(_answer(law, t, x).joint)


GROUPS = Mixture(0, Gaussian(0, None, None, 0, 0))  # pyright: ignore[reportArgumentType]
"""``vmap`` axes of the groups of ``of_responsibilities``; None where all groups share an array."""


@partial(jax.jit, static_argnames=("alpha", "rank"))
@in_float32
def of_responsibilities(
    x0: Float[Array, "g n c"], share: Float[Array, "g n k"], alpha: float, rank: int
) -> Mixture:
    """Fit one mixture to each of g groups of vectors, whose responsibilities are given.

    Σ_k = (1 − α)·S_k + α·S, where S is the weighted mean of the covariances S_k of all groups, with
    whitening's ridge. Only the first directions of S_k are kept, in coordinates where S is white.

    Args:
        x0: vectors, n in each group.
        share: responsibilities, which sum to one over the components of a group.
        alpha: α in (0, 1]; at 1 all components have the covariance S, and no directions are kept.
        rank: number of directions kept, at most c.

    Returns:
        The mixtures; ``GROUPS`` has their group axes.
    """
    g, n, c = x0.shape
    middle = jnp.mean(x0, axis=(0, 1))
    x = x0 - middle
    count = jnp.maximum(jnp.sum(share, axis=1), jnp.finfo(x.dtype).tiny)
    mean = jnp.einsum("gnk,gnc->gkc", share, x) / count[..., None]
    within = jnp.einsum("gnc,gnd->cd", x, x) - jnp.einsum("gk,gkc,gkd->cd", count, mean, mean)
    within /= g * n
    ridge = RIDGE * jnp.trace(within) / c
    values, axes = jnp.linalg.eigh(within + ridge * jnp.eye(c))
    roots = jnp.sqrt(jnp.maximum(values, jnp.maximum(ridge, SMALLEST)))

    def own(part: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        group, weight, total, centre = part
        y = jnp.sqrt(weight / total)[:, None] * (((x[group] - centre) @ axes) / roots)
        variance, directions = jnp.linalg.eigh(y.T @ y)
        return directions[:, -rank:].T * roots, (1 - alpha) * jnp.maximum(variance[-rank:], 0)

    k, spread = share.shape[2], alpha * jnp.square(roots)
    if alpha == 1:
        empty = jnp.zeros((g, k, 0, c), x.dtype)
        parts = Gaussian(mean + middle, axes, spread, empty, empty[..., 0])
        return Mixture(jnp.log(count / n), parts)
    # One after another: all covariances at once would fill the memory.
    parts = jnp.repeat(jnp.arange(g), k), jnp.swapaxes(share, 1, 2).reshape(-1, n)
    found = jax.lax.map(own, (*parts, count.reshape(-1), mean.reshape(-1, c)))
    basis, excess = (part.reshape(g, k, *part.shape[1:]) for part in found)
    return Mixture(jnp.log(count / n), Gaussian(mean + middle, axes, spread, basis, excess))
