"""The rFM loss (Algorithm 1, line 5; Eq. 4 with the square it omits)."""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from wtflow_jax.flow import couplings, paths, targets
from wtflow_jax.flow.types import Params, PRNGKey, Sample, Samples, Time, VelocityFn
from wtflow_jax.support.parts import Parts

Loss: TypeAlias = Callable[[VelocityFn, Params, Sample, Sample, Time], Float[Array, ""]]
"""``loss(velocity_fn, params, x0, x1, t)`` of one sample, x0 after the WT map, t in [0, 1)."""

LOSSES: Parts[Loss] = Parts("loss", "wtflow_jax.flow")
"""Losses by name."""


def sample_keys(key: PRNGKey, index: Int[Array, " n"]) -> Key[Array, " n"]:
    """Derive one key per sample (n,) from a shared key and the sample's index in the data set.

    So a sample's noise depends neither on its batch nor on its position in the batch.
    """
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, index)


@LOSSES.add("rfm")
def rfm(
    velocity_fn: VelocityFn, params: Params, x0: Sample, x1: Sample, t: Time
) -> Float[Array, ""]:
    """Return ‖x1 − x0 − v(x_t, t)‖² / D (Algorithm 1, line 5)."""
    error = paths.velocity(x0, x1) - velocity_fn(params, t, paths.position(x0, x1, t))
    return jnp.mean(jnp.square(error))


def rfm_loss(
    velocity_fn: VelocityFn,
    params: Params,
    x0: Samples,
    key: PRNGKey,
    *,
    index: Int[Array, " n"] | None = None,
    target: targets.Target | str = targets.gaussian,
    time_law: paths.TimeLaw | str = paths.uniform_time,
    loss: Loss | str = rfm,
    coupling: couplings.Coupling | str = couplings.independent,
) -> Float[Array, ""]:
    """Return the mean rFM loss of a batch (Algorithm 1, line 5).

    The mean runs over samples and elements, the scale of Table X (0.687 to 1.011). Time and target
    of a sample are drawn inside a ``vmap`` over samples.

    Args:
        velocity_fn: ``velocity_fn(params, t, x) -> v`` for one sample.
        params: its parameters.
        x0: samples (n, *event), after the WT map.
        key: one key for the batch; sample i draws from ``fold_in(key, index[i])``.
        index: the samples' indices in the data set, (n,) int; by default 0 … n − 1.
        target: the distribution of x1; a function or its name, like the three below.
        time_law: the distribution of t.
        loss: the loss of one sample.
        coupling: how the x0 and x1 of the batch are paired.

    Returns:
        A float32 scalar.
    """
    index = jnp.arange(x0.shape[0]) if index is None else index
    draw, law = targets.TARGETS.given(target), paths.TIME_LAWS.given(time_law)
    loss_of_one = partial(LOSSES.given(loss), velocity_fn, params)

    # No sample has this index, so the shared key differs from every sample's key.
    shared = jax.random.fold_in(key, 2**32 - 1)

    def drawn(i: Int[Array, ""], sample_key: PRNGKey) -> tuple[Time, Sample]:
        time_key, target_key = jax.random.split(sample_key)
        return law(time_key, shared, i), draw(target_key, x0.shape[1:])

    t, x1 = jax.vmap(drawn)(index, sample_keys(key, index))
    x1 = couplings.COUPLINGS.given(coupling)(x0, x1)
    return jnp.mean(jax.vmap(loss_of_one)(x0, x1, t))
