"""The error of a trained velocity against another one, for example the exact one, by time."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from wtflow_jax.flow import paths, targets
from wtflow_jax.flow.types import Params, PRNGKey, Sample, Samples, Time, VelocityFn
from wtflow_jax.support.compilation import jit


class FieldError(NamedTuple):
    """Mean squares over samples and elements, the scale of Table X, at k times."""

    error: Float[Array, " k"]  #: E‖v − u‖²/D
    reference: Float[Array, " k"]  #: E‖u‖²/D


@jit("velocity_fn", "reference_fn", "target")
def field_error(
    velocity_fn: VelocityFn,
    params: Params,
    reference_fn: VelocityFn,
    reference_params: Params,
    x0: Samples,
    times: Float[Array, " k"],
    key: PRNGKey,
    *,
    target: targets.Target | str = targets.gaussian,
) -> FieldError:
    """Compare two velocities at x_t = (1 − t)·x0 + t·x1, on a grid of times.

    With ``geometry.empirical.empirical_velocity`` as the reference and the training data as its
    parameters, a trained network's rising error towards t = 0 shows the initial singularity.

    v is ``velocity_fn`` with ``params``, u is ``reference_fn`` with ``reference_params``. ``times``
    are in (0, 1]. ``key`` draws x1 from ``target``, the same at all times.
    """
    draw = targets.TARGETS.given(target)

    def one(t: Time, x: Sample, key: PRNGKey) -> tuple[Array, Array]:
        position = paths.position(x, draw(key, x.shape), t)
        u = reference_fn(reference_params, t, position)
        v = velocity_fn(params, t, position)
        return jnp.mean(jnp.square(v - u)), jnp.mean(jnp.square(u))

    keys = jax.random.split(key, x0.shape[0])

    def at(t: Time) -> tuple[Array, Array]:
        error, reference = jax.lax.map(lambda pair: one(t, *pair), (x0, keys), batch_size=16)
        return jnp.mean(error), jnp.mean(reference)

    return FieldError(*jax.lax.map(at, times))
