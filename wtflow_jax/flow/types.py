"""Names of the array shapes used across the library.

Sizes: n samples, h × w cells of a feature map, c channels; d (or ``*event``) the shape of one
sample. Maps are channels-last. Everything is float32 unless said otherwise.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Array, Float, Int, Key

Params: TypeAlias = Any
"""A pytree of arrays: a network's weights, or the data of a closed-form field."""

Features: TypeAlias = Float[Array, "n h w c"]
Samples: TypeAlias = Float[Array, " n *event"]
Sample: TypeAlias = Float[Array, "*event"]
Time: TypeAlias = Float[Array, ""]
PRNGKey: TypeAlias = Key[Array, ""]

VelocityFn: TypeAlias = Callable[[Params, Time, Sample], Sample]
"""``velocity_fn(params, t, x) -> v`` for ONE sample; batches by ``jax.vmap`` over x (and t)."""


@runtime_checkable
class Stored(Protocol):
    """Feature maps that are not in memory, for example ``shards.Shards``.

    Attributes:
        shape: (n, h, w, c).
        digest: SHA-256 of the maps, float32 in C order, one after another.
    """

    shape: tuple[int, ...]
    digest: str

    def read(self, index: Int[np.ndarray, " k"]) -> Float[np.ndarray, "k h w c"]:
        """Return the maps at some indices."""
        ...

    def batches(self, order: Int[np.ndarray, "steps b"]) -> Iterator[Float[np.ndarray, "b h w c"]]:
        """Yield the maps of each row of ``order``."""
        ...
