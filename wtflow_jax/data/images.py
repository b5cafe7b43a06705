"""The one preprocessing there is: decode and resize on the host, with Pillow."""

import io
import logging
import re
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from wtflow_jax.data.sample import File, Sample
from wtflow_jax.support.errors import WTFlowError

MULTIPLE = 32
"""Sides are multiples of it: the deepest stride of the backbones, on which their grids rest."""
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
"""Decoders that are tried, whatever a file is called: others start programs, or are seldom used."""
LOSSLESS = ("PNG", "BMP", "TIFF", "GIF")
"""Formats of masks: the others blur an edge, and each pixel above zero counts."""
WINDOW = 1 << 23
"""Pixels of what a backbone is given, at most: some of them are in memory at a time."""
LONGEST = 1 << 31
"""Bytes of an image file at most."""
LARGE = 1 << 25
"""Pixels from which on an image is not decoded beside others."""
EIGHT_BITS = ((np.arange(1 << 16) + 128) // 257).astype(np.uint8)
"""Of each 16-bit value."""

# Pillow warns of images half as large as those it refuses, and of odd metadata. Here an image is
# read, or a line says why not.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


def read_image(path: File, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Decodes an image and resizes it: bilinear, antialiased where it shrinks.

    The file's contents say which of ``FORMATS`` it is. It is turned as its EXIF orientation says.
    Grey is repeated in the three channels, palettes and CMYK become RGB, and what is transparent
    is laid over black. 16-bit grey becomes round(v / 257); of 16-bit colour Pillow keeps the high
    byte.

    Args:
        path: an image file.
        size: height and width in pixels.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        WTFlowError: the file cannot be decoded, or holds values that have no 8-bit reading.
    """
    height, width = size
    return np.array(open_image(path).resize((width, height), Image.Resampling.BILINEAR))


def open_image(path: File) -> Image.Image:
    """Decodes an image, see ``read_image``; RGB, as large as it is stored.

    Raises:
        WTFlowError: as ``read_image``.
    """
    return _to_rgb(path, decode(path))


def is_large(path: File) -> bool:
    """Whether an image has ``LARGE`` pixels or more; one that cannot be opened has not."""
    try:
        with _opened(path) as image:
            return image.width * image.height >= LARGE
    # Whatever it is, it is told when the image is decoded.
    except Exception:
        return False


def decode(path: File) -> Image.Image:
    """Decodes an image as it is stored, turned as its EXIF orientation says.

    Raises:
        WTFlowError: the file cannot be decoded, or has several frames.
    """
    try:
        with _opened(path) as image:
            if one := _is_one(image):
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
    # Decoders raise whatever a damaged byte leads them to: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise _undecodable(path, error) from error
    if not one:
        raise WTFlowError(
            f"{path}: has several frames or pages, and which one is meant is not known: save it "
            "as a file of its own"
        )
    return image


def read_mask(sample: Sample, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The defective pixels of a sample: where any of its masks is above zero.

    Args:
        sample: its masks must be as large as its image.
        size: height and width in pixels, reached by nearest neighbour.

    Returns:
        bool [height, width]; all false for a good image, and for a defect without masks.

    Raises:
        WTFlowError: a file cannot be decoded, or a mask is not as large as the image.
    """
    union = np.zeros(size, bool)
    for _, values in masks_of(sample):
        # United after resizing: a nearest neighbour picks the same pixel of each.
        union |= resize_mask(values > 0, size)
    return union


def masks_of(sample: Sample) -> Iterator[tuple[File, NDArray[Any]]]:
    """Decodes the masks of a sample, one after another.

    Args:
        sample: its masks must be as large as its image.

    Yields:
        Each mask's file and values [image height, image width]; zero is not defective.

    Raises:
        WTFlowError: as ``read_mask``.
    """
    if not sample.masks:
        return
    # By decoding, not from the header: an EXIF orientation may stand behind the pixels.
    width, height = decode(sample.path).size
    for path in sample.masks:
        values = read_labels(path)
        if values.shape != (height, width):
            raise WTFlowError(
                f"{path}: a mask of {_text(values.shape)} pixels (height x width) for "
                f"{sample.path}, which has {height}x{width}: give a mask of the image's size"
            )
        yield path, values


def read_labels(path: File) -> NDArray[Any]:
    """Decodes a mask.

    Args:
        path: an image file; of colours the largest channel counts, and transparent is zero.

    Returns:
        Its values as stored, bool or integer [height, width].

    Raises:
        WTFlowError: the file cannot be decoded, or is of a format that blurs edges.
    """
    image = decode(path)
    if image.format not in LOSSLESS or image.info.get("compression") == "jpeg":
        raise WTFlowError(
            f"{path}: a mask as {image.format}, which blurs its edges, and each pixel above zero "
            "is defective: save it as PNG, from what it was drawn in"
        )
    # A palette image is a label map: its indices count, not the colours they are shown in.
    if image.mode != "P" and image.has_transparency_data:
        image = _over_black(image)
    values = np.asarray(image)
    return values.max(axis=-1) if values.ndim == 3 else values


def resize_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Resizes a mask by nearest neighbour.

    Args:
        mask: bool [any height, any width].
        size: height and width in pixels.

    Returns:
        bool [height, width].
    """
    height, width = size
    resized = Image.fromarray(mask.astype(np.uint8)).resize(
        (width, height), Image.Resampling.NEAREST
    )
    return np.asarray(resized) > 0


def check_sample(sample: Sample) -> float | None:
    """Decodes an image and its masks.

    Args:
        sample: any.

    Returns:
        The share of pixels that one of its masks marks; None where it has none.

    Raises:
        WTFlowError: as ``read_mask``.
    """
    if not sample.masks:
        decode(sample.path)
        return None
    return float(np.logical_or.reduce([values > 0 for _, values in masks_of(sample)]).mean())


def parse_size(text: str) -> tuple[int, int]:
    """Reads an image size.

    Args:
        text: ``512`` (square) or ``512x1280`` (height x width).

    Returns:
        Height and width in pixels, multiples of 32.

    Raises:
        WTFlowError: not of that form, not multiples of 32, or too large.
    """
    match = re.fullmatch(r"([0-9]{1,6})(?:x([0-9]{1,6}))?", text.strip().lower())
    if match is None:
        raise WTFlowError(
            f"image size {text!r}: neither a side nor HEIGHTxWIDTH: "
            "write for instance 512 or 512x1280"
        )
    size = int(match[1]), int(match[2] or match[1])
    for side in size:
        if side == 0 or side % MULTIPLE:
            nearest = max(1, round(side / MULTIPLE)) * MULTIPLE
            raise WTFlowError(
                f"image size {text!r}: {side} is not a positive multiple of {MULTIPLE}: "
                f"take {nearest} instead"
            )
    if size[0] * size[1] > WINDOW:
        raise WTFlowError(
            f"image size {text!r}: more than {WINDOW} pixels: take a smaller one, or cut images"
        )
    return size


def _opened(path: File) -> Image.Image:
    if isinstance(path, Path):
        # A pipe or a device might never end.
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise OSError("not a file")
        if found.st_size > LONGEST:
            raise OSError(f"more than {LONGEST >> 30} GiB")
    return Image.open(io.BytesIO(path.read_bytes()), formats=FORMATS)


def _is_one(image: Image.Image) -> bool:
    """Return whether there is one frame; counting those of a TIFF takes their square."""
    # Telephones put what else they have to say of a picture behind it.
    if image.format == "MPO":
        return True
    try:
        image.seek(1)
    except EOFError:
        image.seek(0)
        return True
    return False


def _undecodable(path: File, error: Exception) -> WTFlowError:
    if isinstance(error, FileNotFoundError):
        return WTFlowError(f"{path}: no such file: restore it or take it off the list")
    if isinstance(error, PermissionError):
        return WTFlowError(f"{path}: may not be read: check its permissions")
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        return WTFlowError(
            f"{path}: has more than {most} million pixels: scale it down, or cut it into several"
        )
    if isinstance(error, UnidentifiedImageError):
        reason = f"none of the formats {', '.join(FORMATS)}"
    else:
        # The operating system's messages end with the path: once is enough.
        reason = " ".join((str(error) or type(error).__name__).split())
        reason = reason.replace(f": {str(path)!r}", "")
    return WTFlowError(f"{path}: cannot be decoded ({reason}): replace the file or remove it")


def _to_rgb(path: File, image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _grey16(path, image).convert("RGB")
    if image.mode == "F":
        raise WTFlowError(
            f"{path}: 32-bit float pixels, which have no agreed range: convert it to 8 or 16 bits"
        )
    try:
        if image.has_transparency_data:
            return _over_black(image)
        # Converting what is RGB would copy it.
        return image if image.mode == "RGB" else image.convert("RGB")
    except ValueError as error:
        raise WTFlowError(
            f"{path}: no way from pixel mode {image.mode} to RGB: convert it to an 8-bit image"
        ) from error


def _grey16(path: File, image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise WTFlowError(
            f"{path}: 32-bit integer pixels from {values.min()} to {values.max()}: "
            "convert it to 8 or 16 bits"
        )
    # Row by row: a copy of what are indices would be eight bytes a pixel.
    eight = np.empty(values.shape, np.uint8)
    for row, into in zip(values, eight, strict=True):
        into[:] = EIGHT_BITS[row]
    return Image.fromarray(eight)


def _over_black(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")


def _text(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]}"
