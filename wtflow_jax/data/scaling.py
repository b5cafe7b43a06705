"""``framing.frame`` of whole images as a JAX function, for programs without Pillow.

Pillow's bilinear filter is a triangle, widened by the factor by which an image shrinks, along rows
and then along columns. Its weights are integers, and pixels between the two passes are uint8 again.
The same integers here make the windows equal bit for bit. This matters: one level in a tenth of the
pixels changed scores of a tire by up to 0.7 %.
"""

from functools import partial

import jax.numpy as jnp
import PIL
from jax import lax
from jaxtyping import Array, Int32, UInt8

from wtflow_jax.data.framing import Size, rounded

BITS = 22
"""Fractional bits of a weight, as in Pillow for 8-bit pixels (``PRECISION_BITS``)."""
DOWN_FIRST = int(PIL.__version__.partition(".")[0]) >= 13
"""Pillow 13 and later scale tall images along columns first: some pixels differ by one level."""


def window(
    images: UInt8[Array, "b h w 3"], size: Size
) -> tuple[UInt8[Array, "b H W 3"], Int32[Array, "2"]]:
    """Return RGB images of one size as one window each, with their aspect kept; pure.

    The images' sides may be symbolic (``jax.export.symbolic_shape``), and 65,535 at most.

    Args:
        images: as decoded.
        size: (H, W) of the window.

    Returns:
        Windows, padded with an image's last row or column; and the number of rows and of columns
        that the image fills, from the window's upper left corner.
    """
    height, width = (jnp.array(side, jnp.int32) for side in images.shape[1:3])
    rows = jnp.clip(rounded(size[1] * height, width), 1, size[0])
    columns = jnp.clip(rounded(size[0] * width, height), 1, size[1])
    across = partial(_along, axis=2, length=width, count=columns, side=size[1])
    down = partial(_along, axis=1, length=height, count=rows, side=size[0])
    tall = (rows < height) & (height - rows > 2 * (width - columns)) & DOWN_FIRST
    windows = lax.cond(tall, lambda x: across(down(x)), lambda x: down(across(x)), images)
    return windows, jnp.stack([rows, columns])


def _fixed(weight: Array, total: Array) -> Array:
    """Return weight / total in units of 1 / 2**BITS, rounded; float32 has too few digits."""
    found = jnp.zeros_like(weight)
    for _ in range(BITS // 2):
        weight = 4 * weight
        found, weight = 4 * found + lax.div(weight, total), lax.rem(weight, total)
    return found + (2 * weight >= total)


def _along(images: Array, axis: int, length: Array, count: Array, side: int) -> Array:
    """Return images scaled along an axis from ``length`` to ``count`` pixels, padded to ``side``.

    Padding repeats the last pixel. The triangle's weights are integers: positions are in units of
    1 / (2 count) pixels.
    """
    reach = 2 * jnp.maximum(length, count)
    centre = length * (2 * jnp.minimum(jnp.arange(side, dtype=jnp.int32), count - 1) + 1)
    first = jnp.maximum(0, lax.div(centre - reach + count, 2 * count))
    taps = 2 * lax.div(reach + 2 * count - 1, 2 * count) + 1

    def tap(i: Array) -> tuple[Array, Array]:
        pixel = first + i
        weight = reach - jnp.abs(count * (2 * pixel + 1) - centre)
        inside = (weight > 0) & (pixel < length)
        return jnp.minimum(pixel, length - 1), jnp.where(inside, weight, 0)

    total = lax.fori_loop(0, taps, lambda i, total: total + tap(i)[1], jnp.zeros_like(centre))

    lines = jnp.moveaxis(images, axis, 0)

    def add(i: Array, found: Array) -> Array:
        pixel, weight = tap(i)
        fixed = _fixed(weight, total)[:, None, None, None]
        return found + fixed * jnp.take(lines, pixel, 0, mode="clip").astype(jnp.int32)

    half = jnp.full((side, *lines.shape[1:]), 1 << (BITS - 1), jnp.int32)
    found = lax.div(lax.fori_loop(0, taps, add, half), jnp.int32(1 << BITS))
    return jnp.moveaxis(found.astype(jnp.uint8), 0, axis)
