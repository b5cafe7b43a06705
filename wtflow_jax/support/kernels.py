"""How the kernels of convolutions lie in memory: what cuDNN reads, without a copy."""

from typing import Any, TypeVar

import jax
from jax.core import Tracer
from jax.experimental.layout import Format, Layout

PLATFORMS = ("gpu",)
"""Where kernels are laid out anew."""
HOPPER = 9.0
"""Compute capability from which on XLA gives cuDNN maps (n, h, w, c) in float32 too."""

Tree = TypeVar("Tree")


def order(precision: str, capability: float) -> Layout:
    """Return how a kernel (h, w, in, out) lies where XLA has chosen it, outputs first.

    It takes maps (n, h, w, c), and kernels (out, h, w, in), in bfloat16 and from Hopper on; float32
    on older cards is (n, c, h, w) and (out, in, h, w).
    """
    channels_last = precision != "float32" or capability >= HOPPER
    return Layout(major_to_minor=(3, 0, 1, 2) if channels_last else (3, 2, 0, 1))


def laid_out(tree: Tree, precision: str = "float32", donate: bool = False) -> Tree:
    """Return the same arrays, their kernels in memory as a GPU's cuDNN reads them.

    Shapes, values and files stay as they are. Left in Flax's order, XLA would transpose all
    kernels at each call, or hold a second copy of them for a loop (docs/performance.md).

    Args:
        tree: of a network's parameters, or of an optimizer's state; 4-D arrays are kernels.
        precision: that they are computed with.
        donate: whether each array may be deleted once it is laid out: there is no room for two.
    """

    def of(leaf: Any) -> Any:
        # Within a jitted function there is nothing to lay out.
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
    """Return of each array how it lies in memory and on which devices."""
    return jax.tree.map(lambda leaf: leaf.format, tree)
