"""Which x1 a sample of a minibatch is paired with; Algorithm 1 draws them independently."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax

from wtflow_jax.flow.types import Samples
from wtflow_jax.support.parts import Parts

Coupling: TypeAlias = Callable[[Samples, Samples], Samples]
"""``coupling(x0, x1) -> x1`` in another order, (n, *event) each."""

COUPLINGS: Parts[Coupling] = Parts("coupling", "wtflow_jax.flow")
"""By name."""


@COUPLINGS.add("independent")
def independent(x0: Samples, x1: Samples) -> Samples:
    """Return x1 as it was drawn."""
    return x1


@COUPLINGS.add("optimal")
def optimal(x0: Samples, x1: Samples) -> Samples:
    """Return x1 in the order of the cheapest assignment by squared distance (minibatch OT).

    Of a batch alone, so the marginals stay, and with more samples the paths cross less. By
    Optax's Hungarian algorithm. Gradients do not go through the order.
    """
    rows, others = (
        jax.lax.stop_gradient(x.reshape(x.shape[0], -1).astype(jnp.float32)) for x in (x0, x1)
    )
    # ‖x0 − x1‖² but for what no order changes.
    costs = -jnp.matmul(rows, others.T, precision=jax.lax.Precision.HIGHEST)
    row, column = optax.assignment.hungarian_algorithm(costs)
    return x1[column[jnp.argsort(row)]]
