"""Properties of an image that depend on its camera and light: cheap compared to decoding."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

LINES = 128
"""Maximum number of rows, and of columns, in the sample that is measured."""


class Look(NamedTuple):
    """Properties of an image that depend on camera and light more than on the part it shows.

    Values are those of the image as the model sees it; ``pixels`` and ``aspect`` are those of the
    stored image.
    """

    #: squared mean of the square roots of grey values, 0 to 255: proportional to the light; a
    #: white background, which cannot become lighter, counts less than in a plain mean
    brightness: float
    red: float  #: share of red in the sum of the channels, %
    blue: float  #: share of blue in the sum of the channels, %
    colour: float  #: mean difference of the highest and the lowest channel, % of mean grey
    contrast: float  #: standard deviation of grey, % of mean grey
    sharpness: float  #: root mean square of second differences of pixels over that of first ones, %
    pixels: float  #: number of pixels
    aspect: float  #: height over width


def look(pixels: UInt8[np.ndarray, "h w 3"], stored: tuple[int, int]) -> Look:
    """Return the look of an image; ``stored`` is the height and width of the stored image."""
    height, width = pixels.shape[:2]
    rows, columns = pixels[:: -(-height // LINES)], pixels[:, :: -(-width // LINES)]
    red, green, blue = (rows[..., i] for i in range(3))
    # Plus one level: a black image has no colour.
    means = np.array([red.mean(), green.mean(), blue.mean()]) + 1
    highest, lowest = (f(f(red, green), blue).mean() for f in (np.maximum, np.minimum))
    lines = _grey(rows), _grey(columns).T
    first, second = np.sum([_differences(one) for one in lines], axis=0)
    return Look(
        brightness=float(np.sqrt(lines[0]).mean() ** 2),
        red=float(100 * means[0] / means.sum()),
        blue=float(100 * means[2] / means.sum()),
        colour=float(100 * (highest - lowest) / means.mean()),
        contrast=float(100 * lines[0].std() / means.mean()),
        sharpness=100 * math.sqrt(second / first),
        pixels=float(stored[0] * stored[1]),
        aspect=stored[0] / stored[1],
    )


def _grey(pixels: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    return pixels.astype(np.float32) @ np.full(3, 1 / 3, np.float32)


def _differences(lines: Float[np.ndarray, "n m"]) -> tuple[float, float]:
    """Return the sums of squares of first and second differences along lines."""
    first = np.diff(lines)
    second = np.diff(first)
    # Plus one level per pixel: quantization steps are not edges.
    return float(np.square(first).sum()) + lines.size, float(np.square(second).sum())
