"""What an image has of its camera and its light: a few numbers, cheap beside decoding it."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

LINES = 128
"""Rows, and columns, that are looked at: they tell as much as all."""


class Look(NamedTuple):
    """What a camera and its light make of an image, more than the part that is on it.

    Values are of the image as the model sees it, ``pixels`` and ``aspect`` of the one stored.
    """

    #: squared mean of the square roots of grey values, 0 to 255: a factor on light is one on it,
    #: and ground that is white already, and cannot become lighter, counts less than in a mean
    brightness: float
    red: float  #: share of red in it, %
    blue: float  #: share of blue in it, %
    colour: float  #: mean difference of the highest and the lowest channel, % of the brightness
    contrast: float  #: standard deviation of grey, % of the brightness
    sharpness: float  #: root of mean squares, second differences of pixels over first ones, %
    pixels: float  #: how many there are
    aspect: float  #: height over width


def look(pixels: UInt8[np.ndarray, "h w 3"], stored: tuple[int, int]) -> Look:
    """Return the look of an image; ``stored`` is the height and width it had."""
    height, width = pixels.shape[:2]
    rows, columns = pixels[:: -(-height // LINES)], pixels[:, :: -(-width // LINES)]
    red, green, blue = (rows[..., i] for i in range(3))
    # A level more: what is black has no colour.
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
    # A level more: the steps between values are no edges.
    return float(np.square(first).sum()) + lines.size, float(np.square(second).sum())
