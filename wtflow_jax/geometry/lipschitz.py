"""How fast a velocity changes in space and in time, and Theorem 2's bound."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from wtflow_jax.flow import paths, targets
from wtflow_jax.flow.types import Params, PRNGKey, Sample, Samples, Time, VelocityFn
from wtflow_jax.support.compilation import jit


class LipschitzProfile(NamedTuple):
    """Local Lipschitz constants along the path, at k times for n samples."""

    space: Float[Array, "k n"]  #: largest singular value of ∂v/∂x
    time: Float[Array, "k n"]  #: ‖∂v/∂t‖


def lipschitz_bound(t: Float[Array, "*k"], dimension: int) -> Float[Array, "*k"]:
    """Return max{1/T, (1 − T)·D/T³}, the bound in x on [T, 1] for data in [0, 1]^D (Lemma 4)."""
    return jnp.maximum(1 / t, (1 - t) * dimension / t**3)


def _length(x: Sample) -> Float[Array, ""]:
    """Return ‖x‖ with gradient zero at x = 0, where a square root's gradient is NaN."""
    square = jnp.sum(jnp.square(x))
    return jnp.where(square == 0, 0.0, jnp.sqrt(jnp.where(square == 0, 1.0, square)))


def _unit(x: Sample) -> Sample:
    return x / jnp.maximum(_length(x), jnp.finfo(x.dtype).tiny)


def largest_singular_value(
    velocity_fn: VelocityFn, params: Params, t: Time, x: Sample, key: PRNGKey, iterations: int = 30
) -> Float[Array, ""]:
    """Estimate the largest singular value of ∂v/∂x at one position x (*event), from below.

    Power iteration starts from a random direction; each of the ``iterations`` takes one product
    with J (jvp) and one with Jᵀ (vjp).
    """

    def field(x: Sample) -> Sample:
        return velocity_fn(params, t, x)

    def forwards(direction: Sample) -> Sample:
        return jax.jvp(field, (x,), (direction,))[1]

    _, backwards = jax.vjp(field, x)

    def body(_: Array, direction: Sample) -> Sample:
        return _unit(backwards(forwards(direction))[0])

    first = _unit(jax.random.normal(key, x.shape))
    return _length(forwards(jax.lax.fori_loop(0, iterations, body, first)))


@jit("velocity_fn", "target", "iterations")
def lipschitz_profile(
    velocity_fn: VelocityFn,
    params: Params,
    x0: Samples,
    times: Float[Array, " k"],
    key: PRNGKey,
    *,
    target: targets.Target | str = targets.gaussian,
    iterations: int = 30,
) -> LipschitzProfile:
    """Return local Lipschitz constants at x_t = (1 − t)·x0 + t·x1, on a grid of times.

    ``times`` are in (0, 1]. ``key`` draws x1 from ``target`` and the first directions, the same at
    all times. With more ``iterations`` the estimate rises towards the singular value.
    """
    draw = targets.TARGETS.given(target)

    def one(t: Time, x: Sample, key: PRNGKey) -> tuple[Array, Array]:
        target_key, direction_key = jax.random.split(key)
        position = paths.position(x, draw(target_key, x.shape), t)
        arguments = velocity_fn, params, t, position, direction_key
        _, rate = jax.jvp(lambda t: velocity_fn(params, t, position), (t,), (jnp.ones_like(t),))
        return largest_singular_value(*arguments, iterations), _length(rate)

    keys = jax.random.split(key, x0.shape[0])
    over_samples = jax.vmap(one, in_axes=(None, 0, 0))
    return LipschitzProfile(*jax.lax.map(lambda t: over_samples(t, x0, keys), times))
