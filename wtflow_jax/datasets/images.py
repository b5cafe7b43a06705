"""The one preprocessing there is: decode and resize on the host, with Pillow."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from wtflow_jax.datasets.sample import Sample
from wtflow_jax.errors import WTFlowError

MULTIPLE = 32
"""Sides are multiples of it: the deepest stride of the backbones, on which their grids rest."""


def read_image(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Decodes an image and resizes it: bilinear, antialiased where it shrinks.

    Turned as its EXIF orientation says. Grey is repeated in the three channels, palettes and CMYK
    become RGB, and what is transparent is laid over black. 16-bit grey becomes round(v / 257);
    of 16-bit colour Pillow keeps the high byte.

    Args:
        path: an image file.
        size: height and width in pixels.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        WTFlowError: the file cannot be decoded, or holds values that have no 8-bit reading.
    """
    image = _to_rgb(path, _decode(path))
    height, width = size
    return np.array(image.resize((width, height), Image.Resampling.BILINEAR))


def read_mask(sample: Sample, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The defective pixels of a sample: where any of its masks is above zero.

    Args:
        sample: its masks must be as large as its image.
        size: height and width in pixels, reached by nearest neighbour.

    Returns:
        bool [height, width]; all false for a good image.

    Raises:
        WTFlowError: a file cannot be decoded, or a mask is not as large as the image.
    """
    height, width = size
    if not sample.masks:
        return np.zeros(size, bool)
    # By decoding, not from the header: an EXIF orientation may stand behind the pixels.
    width_now, height_now = _decode(sample.path).size
    expected = height_now, width_now
    union = np.zeros(expected, bool)
    for path in sample.masks:
        mask = _marked(_decode(path))
        if mask.shape != expected:
            raise WTFlowError(
                f"{path}: a mask of {_text(mask.shape)} pixels (height x width) for "
                f"{sample.path}, which has {_text(expected)}: give a mask of the image's size"
            )
        union |= mask
    resized = Image.fromarray(union.astype(np.uint8)).resize(
        (width, height), Image.Resampling.NEAREST
    )
    return np.asarray(resized) > 0


def parse_size(text: str) -> tuple[int, int]:
    """Reads an image size.

    Args:
        text: ``512`` (square) or ``512x1280`` (height x width).

    Returns:
        Height and width in pixels, multiples of 32.

    Raises:
        WTFlowError: not of that form, or not multiples of 32.
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
    return size


def _decode(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    # Decoders raise whatever a damaged byte leads them to: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise _undecodable(path, error) from error


def _undecodable(path: Path, error: Exception) -> WTFlowError:
    if isinstance(error, FileNotFoundError):
        return WTFlowError(f"{path}: no such file: restore it or take it off the list")
    # Pillow says "cannot identify image file PATH": the path once is enough.
    reason = " ".join((str(error) or type(error).__name__).split()).replace(repr(str(path)), "")
    return WTFlowError(
        f"{path}: cannot be decoded ({reason.strip()}): replace the file or remove it"
    )


def _to_rgb(path: Path, image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _grey16(path, image).convert("RGB")
    if image.mode == "F":
        raise WTFlowError(
            f"{path}: 32-bit float pixels, which have no agreed range: convert it to 8 or 16 bits"
        )
    try:
        if image.has_transparency_data:
            return _over_black(image)
        return image.convert("RGB")
    except ValueError as error:
        raise WTFlowError(
            f"{path}: no way from pixel mode {image.mode} to RGB: convert it to an 8-bit image"
        ) from error


def _grey16(path: Path, image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise WTFlowError(
            f"{path}: 32-bit integer pixels from {values.min()} to {values.max()}: "
            "convert it to 8 or 16 bits"
        )
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _over_black(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")


def _marked(image: Image.Image) -> NDArray[np.bool_]:
    # A palette image is a label map: its indices count, not the colours they are shown in.
    if image.mode != "P" and image.has_transparency_data:
        image = _over_black(image)
    values = np.asarray(image)
    return values.max(axis=-1) > 0 if values.ndim == 3 else values > 0


def _text(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]}"
