"""Names of the shapes that travel through the library.

Sizes: n samples, h × w cells of a feature map, c channels; d (or ``*event``) the shape of one
sample. Maps are channels-last. Everything is float32 unless said otherwise.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from jaxtyping import Array, Float, Key

Params: TypeAlias = Any
"""A pytree of arrays: a network's weights, or the data of a closed-form field."""

Features: TypeAlias = Float[Array, "n h w c"]
Samples: TypeAlias = Float[Array, "n *event"]
Sample: TypeAlias = Float[Array, "*event"]
Time: TypeAlias = Float[Array, ""]
PRNGKey: TypeAlias = Key[Array, ""]

VelocityFn: TypeAlias = Callable[[Params, Time, Sample], Sample]
"""``velocity_fn(params, t, x) -> v`` for ONE sample; batches by ``jax.vmap`` over x (and t)."""
