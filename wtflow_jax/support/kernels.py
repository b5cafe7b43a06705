"""Memory layout of convolution kernels: the one that cuDNN reads without a copy."""

from typing import Any, TypeVar

import jax
from jax.core import Tracer
from jax.experimental.layout import Format, Layout

PLATFORMS = ("gpu",)
"""Platforms where kernels get a new memory layout."""
HOPPER = 9.0
"""Compute capability from which XLA gives cuDNN maps (n, h, w, c) in float32 too."""

Tree = TypeVar("Tree")


def order(precision: str, capability: float) -> Layout:
    """Return the memory layout that XLA chooses for a kernel (h, w, in, out): outputs first.

    In bfloat16, and in float32 from Hopper on, maps are (n, h, w, c) and kernels (out, h, w, in).
    In float32 on older GPUs they are (n, c, h, w) and (out, in, h, w).
    """
    channels_last = precision != "float32" or capability >= HOPPER
    return Layout(major_to_minor=(3, 0, 1, 2) if channels_last else (3, 2, 0, 1))


def laid_out(tree: Tree, precision: str = "float32", donate: bool = False) -> Tree:
    """Return the same arrays, with kernels in the memory layout that a GPU's cuDNN reads.

    Shapes, values and files do not change. In Flax's layout, XLA would transpose all kernels at
    each call, or hold a second copy of them for a loop (docs/appendix/performance.md).

    Args:
        tree: a network's parameters, or an optimizer's state; 4-D arrays are kernels.
        precision: of the computation, see ``order``.
        donate: whether to delete each array once it is copied, to save memory.
    """

    def of(leaf: Any) -> Any:
        # Within a jitted function an array has no memory layout yet.
        if not isinstance(leaf, jax.Array) or isinstance(leaf, Tracer) or leaf.ndim != 4:
            return leaf
        device = next(iter(leaf.devices()))
        if device.platform not in PLATFORMS:
            return leaf
        capability = float(getattr(device, "compute_capability", HOPPER))
        wanted = order(precision, capability)
        lies = formats(leaf).layout
        if isinstance(lies, Layout) and lies.major_to_minor == wanted.major_to_minor:
            return leaf
        return jax.device_put(leaf, Format(wanted, leaf.sharding), donate=donate)

    return jax.tree.map(of, tree)


def formats(tree: Any) -> Any:
    """Return the memory layout and the devices of each array."""
    return jax.tree.map(lambda leaf: leaf.format, tree)
