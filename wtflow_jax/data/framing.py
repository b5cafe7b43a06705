"""Cuts an image of any size into windows of a model's input size, and joins the windows' maps.

A whole image is scaled into one window with its aspect kept; the rest of the window repeats the
image's last row or column. Or an image is cut, at its own scale, into overlapping windows, and
their maps are blended in the overlaps. A whole image may be turned first (``pose``).
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from wtflow_jax.data import pose
from wtflow_jax.data.depth import White
from wtflow_jax.data.images import MULTIPLE, UNKNOWN, is_large, open_image
from wtflow_jax.data.look import Look, look
from wtflow_jax.data.pose import Pose
from wtflow_jax.data.sample import File
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.threads import ahead

Size = tuple[int, int]

MOST = 1 << 28
"""Maximum number of pixels in all windows of an image."""
SAMPLE = 32
"""Number of images that ``aspect`` reads."""


class Framing(NamedTuple):
    """How images are shown to a model: windows (H, W) in pixels, multiples of a backbone's stride.

    Neighbouring windows share at least ``overlap`` pixels; None shows an image whole. ``white`` is
    the value of white in images of more than eight bits. If ``pose`` is a number, whole images are
    turned by their principal axis, with that shift (``pose.estimate``).
    """

    size: Size
    overlap: int | None = None
    white: White = White()
    pose: float | None = None


class Framed(NamedTuple):
    """An image as windows, uint8 RGB, each with its top and left corner in the image.

    ``size`` is (h, w) of the image at the windows' scale, which may be less than a window;
    ``look`` is that of the image without padding. For a turned image, ``pose`` is its pose, and
    ``untouched`` is the image before turning, (h, w, 3).
    """

    windows: UInt8[np.ndarray, "k H W 3"]
    corners: tuple[tuple[int, int], ...]
    size: Size
    look: Look
    pose: Pose | None = None
    untouched: UInt8[np.ndarray, "h w 3"] | None = None

    def digest(self) -> str:
        """Return a hash of the windows' pixels, 16 hexadecimal digits."""
        return hashlib.sha256(self.windows.tobytes()).hexdigest()[:16]


def aspect(files: Sequence[File], white: White = UNKNOWN) -> float:
    """Return the median height over width of ``SAMPLE`` of the images; errors as ``open_image``."""
    # For a large folder a sample is enough.
    some = files[:: max(1, len(files) // SAMPLE)][:SAMPLE]
    images = (open_image(file, white) for file in some)
    return float(np.median([image.height / image.width for image in images]))


def size_for(area: int, aspect: float, multiple: int = MULTIPLE) -> Size:
    """Return the window (H, W) of about ``area`` pixels for images of an aspect, height over width.

    Its sides are multiples of ``multiple``.
    """
    # Once the shorter side is at its minimum, ``multiple``, the longer side grows no more.
    most = area / multiple**2
    height = math.sqrt(area * min(max(aspect, 1 / most), most))

    def side(length: float) -> int:
        return multiple * max(1, round(length / multiple))

    return side(height), side(area / height)


def rounded(a: Any, b: Any) -> Any:
    """Return a / b for positive integers, rounded half to even."""
    whole, rest = divmod(a, b)
    return whole + (2 * rest + whole % 2 > b)


def starts(length: int, window: int, overlap: int) -> list[int]:
    """Return where windows begin: evenly spaced, the first at 0, the last ending at ``length``."""
    count = 1 if length <= window else math.ceil((length - overlap) / (window - overlap))
    return [round(i * (length - window) / max(1, count - 1)) for i in range(count)]


def frame(image: Image.Image, framing: Framing, name: object = "image") -> Framed:
    """Cut an RGB image of any size into windows.

    WTFlowError: the windows would have more than ``MOST`` pixels together.
    """
    (height, width), stored = framing.size, (image.height, image.width)
    if framing.overlap is None:
        h = rounded(width * image.height, image.width)
        w = rounded(height * image.width, image.height)
        size, rows, columns = (min(height, max(1, h)), min(width, max(1, w))), [0], [0]
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    else:
        size = stored
        rows = starts(size[0], height, framing.overlap)
        columns = starts(size[1], width, framing.overlap)
        count = len(rows) * len(columns)
        if count * height * width > MOST:
            raise WTFlowError(
                f"{name}: {image.height}x{image.width} pixels are {count} windows of "
                f"{height}x{width} that overlap by {framing.overlap}: give a smaller --overlap, or "
                "cut the image"
            )
    below, beside = max(0, height - size[0]), max(0, width - size[1])
    pixels = np.asarray(image)
    seen = look(pixels, stored)
    lies, untouched = None, None
    if framing.pose is not None:
        lies, untouched = pose.estimate(pixels, framing.pose), pixels
        pixels = pose.straighten(pixels, lies)
    if below or beside:
        pixels = np.pad(pixels, ((0, below), (0, beside), (0, 0)), mode="edge")
    corners = tuple((top, left) for top in rows for left in columns)
    windows = [pixels[top : top + height, left : left + width] for top, left in corners]
    return Framed(np.stack(windows), corners, size, seen, lies, untouched)


def join(framed: Framed, maps: Float[np.ndarray, "k H W"], framing: Framing) -> np.ndarray:
    """Return the map of an image from its windows' maps, which are blended in the overlaps.

    The map of a turned image is turned back.

    Returns:
        float32 (h, w): ``framed.size``.
    """
    inside = np.s_[: framed.size[0], : framed.size[1]]
    if len(maps) == 1:
        own = maps[0][inside]
        return own if framed.pose is None else pose.back(own, framed.pose)

    def tent(length: int) -> np.ndarray:
        """Weights that rise linearly from each end over the overlap; always above zero."""
        distance = np.minimum(np.arange(length), np.arange(length)[::-1]) + 1.0
        return np.minimum(distance / ((framing.overlap or 0) + 1), 1.0)

    height, width = framing.size
    weight = tent(height)[:, None] * tent(width)
    bottom, right = framed.corners[-1]
    total, weights = np.zeros((2, bottom + height, right + width))
    for (top, left), one in zip(framed.corners, maps, strict=True):
        part = np.s_[top : top + height, left : left + width]
        total[part] += weight * one
        weights[part] += weight
    return (total[inside] / weights[inside]).astype(np.float32)


def whole(framed: Framed, framing: Framing) -> UInt8[np.ndarray, "h w 3"]:
    """Return the image at the size of its map, reassembled from its windows."""
    if framed.untouched is not None:
        return framed.untouched
    height, width = framing.size
    bottom, right = framed.corners[-1]
    image = np.empty((bottom + height, right + width, 3), np.uint8)
    for (top, left), window in zip(framed.corners, framed.windows, strict=True):
        image[top : top + height, left : left + width] = window
    return image[: framed.size[0], : framed.size[1]]


def framed(paths: Iterable[File], framing: Framing) -> Iterator[tuple[File, Framed | WTFlowError]]:
    """Decode and frame images in threads, a few ahead; yield the error of an image that fails."""

    def one(path: File) -> tuple[File, Framed | WTFlowError]:
        try:
            return path, frame(open_image(path, framing.white), framing, path)
        except WTFlowError as error:
            return path, error

    return ahead(one, paths, alone=is_large)
