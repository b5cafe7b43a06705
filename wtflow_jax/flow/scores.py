"""From endpoints to anomaly maps and image scores (Eq. 2, Sec. V-A).

A map has one number per cell of the feature map, (n, h, w), and is upsampled bilinearly to the
image. The backbone's strides and paddings decide where a cell lies in the image. The usual
half-pixel convention puts it elsewhere (15.5 pixels further for a layer3 map with the padded pool).
``upsampling`` gives either, as one matrix per axis.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from wtflow_jax.flow.types import Features, Samples
from wtflow_jax.support.parts import Parts

CellScores = Float[Array, "n h w"]
Maps = Float[Array, "n H W"]

HIGHEST = 1e30
"""The highest cell score: infinity would make NaN in maps. Sums of pixels stay finite."""


Score: TypeAlias = Callable[[Features], CellScores]
"""Cell scores from the channels of one stage of x̂1; higher is more anomalous."""

SCORES: Parts[Score] = Parts("score", "wtflow_jax.flow")
"""Scores by name."""


def density_proxy(x1: Samples) -> Samples:
    """Return a = 1 − (2π)^(−1/2)·exp(−φ²/2) for each element φ of x̂1 (Eq. 2), from 0.6011 to 1."""
    return 1 - jnp.exp(-jnp.square(x1) / 2) / math.sqrt(2 * math.pi)


@SCORES.add("density")
def density(x1: Features) -> CellScores:
    """Return the mean of ``density_proxy`` over channels (Eq. 2)."""
    return jnp.mean(density_proxy(x1), axis=-1)


@SCORES.add("log_density")
def log_density(x1: Features) -> CellScores:
    """Return the mean of φ²/2 over channels: −log N(φ; 0, 1), less its value at φ = 0.

    Eq. 2 saturates at a few standard deviations; this does not. It is half the squared length over
    the number of channels. From |φ| = 1.8e19 on it is infinite.
    """
    return jnp.mean(jnp.square(x1) / 2, axis=-1)


def cell_scores(
    x1: Features, score: Score | str = density, channels: tuple[int, ...] = ()
) -> CellScores:
    """Return the cell scores (n, h, w) of endpoints (n, h, w, c).

    Args:
        x1: the endpoints.
        score: a function, or its name.
        channels: of each stage, if stages are scored separately; their scores are averaged.

    Returns:
        Scores, at most ``HIGHEST``; NaN stays NaN.
    """
    ends = list(itertools.accumulate(channels))[:-1]
    each = [SCORES.given(score)(part) for part in jnp.split(x1, ends, axis=-1)]
    return jnp.mean(jnp.minimum(jnp.stack(each), HIGHEST), axis=0)


class Upsampling(NamedTuple):
    """From cells to pixels, bilinearly and blurred: one matrix per axis; each row sums to 1."""

    rows: Float[np.ndarray, "H h"]
    columns: Float[np.ndarray, "W w"]


def _interpolation(
    pixels: int, centres: Float[np.ndarray, " k"], blur: float
) -> Float[np.ndarray, "pixels k"]:
    at = np.arange(pixels)
    # Interpolating each unit vector gives the matrix; beyond the outermost cells it is constant.
    matrix = np.stack([np.interp(at, centres, unit) for unit in np.eye(len(centres))], axis=-1)
    if blur:
        kernel = np.exp(-np.square((at[:, None] - at) / blur) / 2)
        matrix = kernel @ matrix / kernel.sum(axis=1, keepdims=True)
    return matrix.astype(np.float32)


def upsampling(
    size: tuple[int, int],
    cells: tuple[int, int],
    stride: float,
    offset: float | None = None,
    blur: float = 0.0,
) -> Upsampling:
    """Return the interpolation of maps whose cell i sits at pixel ``stride·i + offset``.

    Args:
        size: (H, W) of the image; coordinate 0 is the centre of the first pixel.
        cells: (h, w) of the map.
        stride: pixels from one cell to the next.
        offset: pixel of the first cell; by default (stride − 1) / 2, the half-pixel convention.
        blur: standard deviation in pixels of a Gaussian filter of the map; 0: none. Near an edge
            its weights are those of the pixels within the image.
    """
    offset = (stride - 1) / 2 if offset is None else offset
    axes = [
        _interpolation(n, stride * np.arange(k) + offset, blur)
        for n, k in zip(size, cells, strict=True)
    ]
    return Upsampling(*axes)


def upsample(cells: CellScores, upsampling: Upsampling) -> Maps:
    """Upsample maps, (n, h, w) to (n, H, W)."""
    # Full float32 on accelerators too: scores differ in their fifth digit.
    highest = jax.lax.Precision.HIGHEST
    return jnp.einsum(
        "Hh,nhw,Ww->nHW", upsampling.rows, cells, upsampling.columns, precision=highest
    )


def image_scores(maps: Maps, top_fraction: float = 0.03) -> Float[Array, " n"]:
    """Return the mean of each map's highest pixels (Sec. V-A: the top 3 %).

    Args:
        maps: (n, H, W).
        top_fraction: the share of pixels averaged, in [0, 1]; at least one pixel, so 0 gives the
            maximum.
    """
    pixels = maps.reshape(maps.shape[0], -1)
    k = max(1, int(top_fraction * pixels.shape[1]))
    return jnp.mean(jax.lax.top_k(pixels, k)[0], axis=-1)
