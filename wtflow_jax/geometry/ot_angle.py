"""The first velocity against optimal transport: is it the worst transport (Proposition 2)?"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import linear_sum_assignment

from wtflow_jax.flow.types import Params, Samples, VelocityFn


class OTAngle(NamedTuple):
    """Cosines between a velocity and the optimal transport displacement, of n samples.

    The normal is x0/‖x0‖, that of the sphere around the origin through x0. A cosine is zero if one
    of its vectors is zero.

    ``tangential`` compares the parts of both vectors orthogonal to x0. ``tangent`` compares v with
    that part of z − x0: a possible meaning of Proposition 2 for small displacements.
    """

    whole: Float[np.ndarray, " n"]  #: between v and z − x0
    tangential: Float[np.ndarray, " n"]
    normal: Float[np.ndarray, " n"]  #: sign of the product of their parts along x0: −1 opposite
    normal_share: Float[np.ndarray, " n"]  #: ‖normal part‖²/‖z − x0‖² of the displacement
    tangent: Float[np.ndarray, " n"]


def optimal_displacement(
    x0: Float[np.ndarray, "n d"], x1: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "n d"]:
    """Return z − x0, where z is x1 in the order of the cheapest assignment (squared distance)."""
    squares = np.sum(x0**2, axis=1)[:, None] + np.sum(x1**2, axis=1) - 2 * x0 @ x1.T
    _, order = linear_sum_assignment(squares)
    return x1[order] - x0


def _cosine(a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, " n"]:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.sum(a * b, axis=1) / np.where(lengths > 0, lengths, np.inf)


def ot_angle(
    velocity_fn: VelocityFn, params: Params, x0: Samples, x1: Samples, t: float = 0.0
) -> OTAngle:
    """Compare v(x0, t) with the optimal transport of a minibatch onto draws of the target.

    The cosine depends on the size of the batch: with more draws the nearest is closer.

    x1 are n draws of the target, one per sample; v is evaluated at ``t``.
    """
    velocity: Array = jax.vmap(velocity_fn, in_axes=(None, None, 0))(params, jnp.float32(t), x0)
    x, z, v = (np.asarray(part, np.float64).reshape(len(x0), -1) for part in (x0, x1, velocity))
    displacement = optimal_displacement(x, z)
    normal = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(float).tiny)
    along = [np.sum(part * normal, axis=1) for part in (v, displacement)]
    tangential = v - along[0][:, None] * normal, displacement - along[1][:, None] * normal
    squares = np.sum(displacement**2, axis=1)
    return OTAngle(
        whole=_cosine(v, displacement),
        tangential=_cosine(*tangential),
        normal=np.sign(along[0] * along[1]),
        normal_share=along[1] ** 2 / np.where(squares > 0, squares, np.inf),
        tangent=_cosine(v, tangential[1]),
    )
