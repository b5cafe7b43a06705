"""Couplings: which x1 each x0 of a minibatch gets; Algorithm 1 pairs them independently."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax

from wtflow_jax.flow.types import Samples
from wtflow_jax.support.parts import Parts

Coupling: TypeAlias = Callable[[Samples, Samples], Samples]
"""``coupling(x0, x1)`` returns x1 in a new order; all are (n, *event)."""

COUPLINGS: Parts[Coupling] = Parts("coupling", "wtflow_jax.flow")
"""Couplings by name."""


@COUPLINGS.add("independent")
def independent(x0: Samples, x1: Samples) -> Samples:
    """Return x1 as it was drawn."""
    return x1


@COUPLINGS.add("optimal")
def optimal(x0: Samples, x1: Samples) -> Samples:
    """Return x1 in the order of the cheapest assignment by squared distance (minibatch OT).

    The order permutes one batch, so the marginals stay. Paths cross less in larger batches.
    Optax's Hungarian algorithm finds the order; gradients do not pass through it.
    """
    rows, others = (
        jax.lax.stop_gradient(x.reshape(x.shape[0], -1).astype(jnp.float32)) for x in (x0, x1)
    )
    # ‖x0 − x1‖² / 2 without the terms that no order changes.
    costs = -jnp.matmul(rows, others.T, precision=jax.lax.Precision.HIGHEST)
    row, column = optax.assignment.hungarian_algorithm(costs)
    return x1[column[jnp.argsort(row)]]
