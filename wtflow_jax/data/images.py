"""The one preprocessing there is: decode and resize on the host, with Pillow."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from wtflow_jax.data.files import one_line
from wtflow_jax.data.sample import File
from wtflow_jax.support.errors import WTFlowError

MULTIPLE = 32
"""Sides are multiples of it: the deepest stride of the backbones, on which their grids rest."""
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
"""Decoders that are tried, whatever a file is called: others start programs, or are seldom used."""
WINDOW = 1 << 23
"""Pixels of what a backbone is given, at most: some of them are in memory at a time."""
LARGE = 1 << 25
"""Pixels from which on an image is not decoded beside others."""
EIGHT_BITS = ((np.arange(1 << 16) + 128) // 257).astype(np.uint8)
"""Of each 16-bit value."""

# Pillow warns of images half as large as those it refuses, and of odd metadata. Here an image is
# read, or a line says why not.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


def read_image(path: File, size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """Decode an image and resize it: bilinear, antialiased where it shrinks.

    The file's contents say which of ``FORMATS`` it is. It is turned as its EXIF orientation says.
    Grey is repeated in the three channels, palettes and CMYK become RGB, and what is transparent
    is laid over black. 16-bit grey becomes round(v / 257); of 16-bit colour Pillow keeps the high
    byte. ``size`` is H and W in pixels.

    Raises:
        WTFlowError: it cannot be decoded, has several frames, or values without an 8-bit reading.
    """
    height, width = size
    return np.array(open_image(path).resize((width, height), Image.Resampling.BILINEAR))


def open_image(path: File) -> Image.Image:
    """Decode an image, see ``read_image``; RGB, as large as it is stored."""
    return _to_rgb(path, decode(path))


def decode(path: File) -> Image.Image:
    """Decode an image as it is stored, turned as its EXIF orientation says; see ``read_image``."""
    with _one_line(path), _opened(path) as image:
        _load(path, image)
        ImageOps.exif_transpose(image, in_place=True)
        return image


def encode(name: str, image: Image.Image) -> bytes:
    """Return a user's image, which stays as it is, as a file, of what ``open_image`` makes of it.

    It is kept without loss; ``name`` is for messages. Errors as ``read_image``.
    """
    file = io.BytesIO()
    with _one_line(name):
        _load(name, image)
        _to_rgb(name, ImageOps.exif_transpose(image)).save(file, "BMP")
    return file.getvalue()


def is_large(path: File) -> bool:
    """Return whether an image has ``LARGE`` pixels or more; one that cannot be opened has not."""
    try:
        with _opened(path) as image:
            return image.width * image.height >= LARGE
    # Whatever it is, it is told when the image is decoded.
    except Exception:
        return False


def parse_size(text: str) -> tuple[int, int]:
    """Return the height and width of ``512`` (square) or ``512x1280``, in pixels.

    WTFlowError: not of that form, not multiples of 32, or too large.
    """
    match = re.fullmatch(r"([0-9]{1,6})(?:x([0-9]{1,6}))?", text.strip().lower())
    wrong = f"image size {text!r}: "
    if match is None:
        example = "write for instance 512 or 512x1280"
        raise WTFlowError(f"{wrong}neither a side nor HEIGHTxWIDTH: {example}")
    size = int(match[1]), int(match[2] or match[1])
    for side in size:
        if not side or side % MULTIPLE:
            nearest = max(1, round(side / MULTIPLE)) * MULTIPLE
            what = f"{side} is not a positive multiple of {MULTIPLE}"
            raise WTFlowError(f"{wrong}{what}: take {nearest} instead")
    if size[0] * size[1] > WINDOW:
        raise WTFlowError(f"{wrong}more than {WINDOW} pixels: take a smaller one, or cut images")
    return size


def _opened(path: File) -> Image.Image:
    return Image.open(io.BytesIO(path.read_bytes()), formats=FORMATS)


def _load(path: File | str, image: Image.Image) -> None:
    # Telephones put what else they have to say of a picture behind it.
    if image.format != "MPO":
        # Counting the frames of a TIFF takes their square.
        with contextlib.suppress(EOFError):
            image.seek(1)
            several = "has several frames or pages, and which one is meant is not known"
            raise WTFlowError(f"{path}: {several}: save it as a file of its own")
        image.seek(0)
    image.load()


@contextlib.contextmanager
def _one_line(path: File | str) -> Iterator[None]:
    """Make one line of whatever decoders raise: OSError, SyntaxError, struct.error, ..."""
    try:
        yield
    except WTFlowError:
        raise
    except Exception as error:
        raise WTFlowError(f"{path}: {_reason(str(path), error)}") from error


def _reason(path: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file: restore it or take it off the list"
    if isinstance(error, PermissionError):
        return "may not be read: check its permissions"
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        return f"has more than {most} million pixels: scale it down, or cut it into several"
    if isinstance(error, UnidentifiedImageError):
        reason = f"none of the formats {', '.join(FORMATS)}"
    else:
        # The operating system's messages end with the path: once is enough.
        reason = one_line(error).replace(f": {path!r}", "")
    return f"cannot be decoded ({reason}): replace the file or remove it"


def _to_rgb(path: File | str, image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise WTFlowError(
                f"{path}: 32-bit integer pixels from {values.min()} to {values.max()}: "
                "convert it to 8 or 16 bits"
            )
        # Row by row: a copy of what are indices would be eight bytes a pixel.
        return Image.fromarray(np.stack([EIGHT_BITS[row] for row in values])).convert("RGB")
    if image.mode == "F":
        raise WTFlowError(
            f"{path}: 32-bit float pixels, which have no agreed range: convert it to 8 or 16 bits"
        )
    try:
        if image.has_transparency_data:
            return over_black(image)
        # Converting what is RGB would copy it.
        return image if image.mode == "RGB" else image.convert("RGB")
    except ValueError as error:
        raise WTFlowError(
            f"{path}: no way from pixel mode {image.mode} to RGB: convert it to an 8-bit image"
        ) from error


def over_black(image: Image.Image) -> Image.Image:
    """Return an image as RGB, what is transparent laid over black."""
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
