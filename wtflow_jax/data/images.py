"""The only preprocessing: decode and resize on the host, with Pillow."""

import contextlib
import io
import logging
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from wtflow_jax.data import depth
from wtflow_jax.data.depth import Deep, White
from wtflow_jax.data.files import one_line
from wtflow_jax.data.sample import File
from wtflow_jax.support.console import Track, untracked
from wtflow_jax.support.errors import WTFlowError, WTFlowWarning, listed
from wtflow_jax.support.threads import ahead

MULTIPLE = 32
"""Image sides are multiples of this, the deepest stride, unless a backbone has another one."""
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
"""Decoders to try, whatever a file's extension: others start programs, or are rarely used."""
WINDOW = 1 << 23
"""Maximum number of pixels of a backbone's input: several inputs are in memory at a time."""
LARGE = 1 << 25
"""Number of pixels from which an image is not decoded in parallel with others."""
LOW_BYTE = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
"""Raw modes with the byte order swapped: of 16-bit colours Pillow keeps the high byte, so that with
the swapped mode it keeps the low one."""
BITS, PHOTOMETRIC, SAMPLES, PLANAR, EXTRA, SAMPLE_FORMAT = 258, 262, 277, 284, 338, 339
"""TIFF tags."""
UNKNOWN = White()
FEW = 0.1
"""If at most this share of the images of more than eight bits decides white, a warning says so."""

# Pillow warns of images half as large as those it refuses, and of odd metadata. Here an image is
# either read, or an error of one line says why not.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


def read_image(
    path: File, size: tuple[int, int], white: White = UNKNOWN
) -> UInt8[np.ndarray, "H W 3"]:
    """Decode an image and resize it: bilinear, antialiased where it shrinks.

    ``size`` is H and W in pixels; the rest is as in ``open_image``.
    """
    height, width = size
    resized = open_image(path, white).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(resized)


def open_image(path: File, white: White = UNKNOWN) -> Image.Image:
    """Decode an image to RGB, at its stored size.

    The file's contents decide which of ``FORMATS`` it is. Its EXIF orientation is applied. Grey is
    repeated in the three channels, palettes and CMYK become RGB, and transparent pixels are laid
    over black. Values of more than eight bits become round(255·v / white).

    Raises:
        WTFlowError: the image cannot be decoded, has several frames or extra bands, or has values
            above white, or values for which white is unknown.
    """
    image, values, said = _stored(path)
    if values is None:
        return _to_rgb(path, image)
    with _named(path):
        bits = depth.eight_bits(values, said or white.of(values))
    if image.mode == "RGBA":
        bits = np.dstack([bits, np.asarray(image)[..., 3]])
    return _to_rgb(path, Image.fromarray(bits))


def decode(path: File) -> Image.Image:
    """Decode an image in Pillow's mode, with its EXIF orientation applied; see ``open_image``."""
    with _one_line(path), _opened(path.read_bytes()) as image:
        _load(path, image)
        ImageOps.exif_transpose(image, in_place=True)
        return image


def white_of(files: Sequence[File], track: Track = untracked) -> White:
    """Return the value of white in images of one camera; errors as ``open_image``.

    Of 8-bit images only the beginning is read. If the first image is deeper, progress is shown.
    """

    def one(path: File) -> White:
        if not _is_deep(path):
            return UNKNOWN
        _, values, said = _stored(path)
        if values is None or said:
            return UNKNOWN
        with _named(path):
            return depth.white_in(values)

    white, advance, each = UNKNOWN, untracked("", None), list[int | None]()
    for i, found in enumerate(ahead(one, files, alone=is_large)):
        with _named(files[i]):
            white = white.joined(found)
        each.append(found.integers)
        if i == 0 and any(white):
            advance = track("brightness", len(files))
        advance()
    _doubt(files, each, white.integers)
    return white


def _doubt(files: Sequence[File], each: Sequence[int | None], white: int | None) -> None:
    """Warn if few images decide white: if they are of another camera, all others become dark."""
    deep = [i for i, found in enumerate(each) if found is not None]
    brightest = [i for i in deep if each[i] == white]
    if not white or 1 < len(brightest) > FEW * len(deep) or len(deep) == 1:
        return
    others = max((each[i] or 0 for i in deep if each[i] != white), default=white)
    if others < white:
        warnings.warn(
            f"{listed([str(files[i]) for i in brightest])}: brighter than {others}, which the "
            f"other {len(deep) - len(brightest)} images do not exceed; {white} is white, which "
            "makes the others dark: leave out images of another camera",
            WTFlowWarning,
            stacklevel=3,
        )


def _is_deep(path: File) -> bool:
    with _one_line(path), _beginning(path) as file:
        if file.read(len(depth.MAGIC)) == depth.MAGIC:
            return True
        file.seek(0)
        with Image.open(file, formats=FORMATS) as image:
            return _depth(image)[1]


def _beginning(path: File) -> io.BytesIO | io.BufferedReader:
    """Return an open file; only the requested bytes are read."""
    return path.open("rb") if isinstance(path, Path) else io.BytesIO(path.read_bytes())


class _Stored(NamedTuple):
    image: Image.Image
    values: Deep | None = None  #: pixels of more than eight bits, grey or RGB
    white: int | None = None  #: the value of white, if the file states it


def _stored(path: File) -> _Stored:
    """Decode an image at its full bit depth."""
    with _one_line(path):
        content = path.read_bytes()
        if content.startswith(depth.MAGIC):
            values = depth.unpacked(content)
            if values.dtype == np.uint8:
                return _Stored(Image.fromarray(values))
            return _Stored(Image.new("RGB", values.shape[1::-1]), values)
        with _opened(content) as image:
            is_grey, is_deep = _depth(image)
            _load(path, image)
            ImageOps.exif_transpose(image, in_place=True)
        if not is_deep:
            return _Stored(image)
        values = np.asarray(image)
        if is_grey:
            bits = _tag(image, BITS, 16)
            return _Stored(image, values, 2**bits - 1 if bits < 16 else None)
        with _opened(content) as other:
            other.tile = [tile._replace(args=_low_byte(tile.args)) for tile in other.tile]
            _load(path, other)
            low = np.asarray(ImageOps.exif_transpose(other))
        return _Stored(image, values[..., :3].astype(np.uint16) << 8 | low[..., :3])


def _depth(image: Image.Image) -> tuple[bool, bool]:
    """Return whether an image not yet loaded is deep grey, and whether it is deep (over 8 bits)."""
    is_grey = image.mode == "F" or image.mode.startswith("I")
    tiles = getattr(image, "tile", [])
    is_colour = image.mode in ("RGB", "RGBA") and any(";16" in _raw(tile.args) for tile in tiles)
    return is_grey, is_grey or is_colour


def _raw(args: object) -> str:
    return str(args[0] if isinstance(args, tuple) and args else args)


def _low_byte(args: object) -> object:
    colours, _, end = _raw(args).partition(";")
    other = f"{colours};{LOW_BYTE[end]}"
    return (other, *args[1:]) if isinstance(args, tuple) else other


def encode(name: str, image: Image.Image) -> bytes:
    """Return a user's image, losslessly encoded, as file content that ``open_image`` reads.

    The image itself is not changed; ``name`` is for messages. Errors as ``open_image``.
    """
    with _one_line(name):
        is_grey, is_deep = _depth(image)
        if is_deep and not is_grey:
            reason = "colours of 16 bits, but Pillow keeps only 8: give its path"
            raise WTFlowError(f"{name}: {reason}, or an array of uint16")
        _load(name, image)
        turned = ImageOps.exif_transpose(image)
        if is_deep:
            return depth.packed(np.asarray(turned))
        file = io.BytesIO()
        _to_rgb(name, turned).save(file, "BMP")
        return file.getvalue()


def is_large(path: File) -> bool:
    """Return whether an image has ``LARGE`` pixels or more; False if it cannot be opened.

    A .npy file counts as large from ``LARGE`` bytes on.
    """
    if isinstance(path, Path) and depth.holds_array(path):
        return path.stat().st_size >= LARGE
    try:
        with _beginning(path) as file, Image.open(file, formats=FORMATS) as image:
            return image.width * image.height >= LARGE
    # Decoding will report the error.
    except Exception:
        return False


def parse_size(text: object, multiple: int = MULTIPLE, of: str = "a backbone") -> tuple[int, int]:
    """Return the height and width of ``512`` (square) or ``512x1280``, in pixels.

    WTFlowError: the text is malformed, a side is not a multiple of ``multiple``, or the size is
    too large. ``of`` names the backbone in messages.
    """
    if not isinstance(text, str):
        raise WTFlowError(f"image size {text!r}: write it as text, '512' or '512x1280'")
    match = re.fullmatch(r"([0-9]{1,6})(?:x([0-9]{1,6}))?", text.strip().lower())
    wrong = f"image size {text!r}: "
    if match is None:
        example = "write for instance 512 or 512x1280"
        raise WTFlowError(f"{wrong}neither a side nor HEIGHTxWIDTH: {example}")
    size = int(match[1]), int(match[2] or match[1])
    for side in size:
        if not side or side % multiple:
            below = side // multiple * multiple
            near = " or ".join(str(one) for one in (below, below + multiple) if one)
            raise WTFlowError(f"{wrong}{of} takes multiples of {multiple}; give {near} for {side}")
    if size[0] * size[1] > WINDOW:
        raise WTFlowError(f"{wrong}more than {WINDOW} pixels: take a smaller one, or cut images")
    return size


def _opened(content: bytes) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(content), formats=FORMATS)


def _load(path: File | str, image: Image.Image) -> None:
    if reason := _misread(image):
        raise WTFlowError(f"{path}: {reason}")
    # Phones append further pictures to a JPEG (MPO); only the first is read.
    if image.format != "MPO":
        # Not by n_frames: the time to count a TIFF's frames grows with their square.
        with contextlib.suppress(EOFError):
            image.seek(1)
            several = "has several frames or pages, and the right one is not known"
            raise WTFlowError(f"{path}: {several}: save it as a file of its own")
        image.seek(0)
    image.load()


def _misread(image: Image.Image) -> str | None:
    """Return what Pillow would leave out or misread, or None."""
    _, is_deep = _depth(image)
    raws = [_raw(tile.args) for tile in getattr(image, "tile", [])]
    if any(raw.startswith(("LA;16", "RGBa;16")) for raw in raws):
        return "transparent pixels of 16 bits, but Pillow reads only 8: save it without alpha"
    bands = len(image.getbands())
    if image.mode == "RGBA" and _tag(image, SAMPLES, 0) == 4 and _tag(image, EXTRA, 0) == 0:
        # Pillow takes an unspecified fourth band for transparency.
        bands = 3
    if (samples := _tag(image, SAMPLES, bands)) > bands and image.mode != "P":
        return f"{samples} bands, but Pillow reads only {bands}: save those that count as RGB"
    if _tag(image, PLANAR, 1) == 2 and _tag(image, BITS, 8) > 8 and raws and ";" not in raws[0]:
        return "16-bit bands one after the other are not supported: save it as PNG"
    if is_deep and _tag(image, PHOTOMETRIC, 1) == 0:
        return "more than eight bits with white as zero: invert it"
    if (bits := _tag(image, BITS, 32)) <= 16 and _tag(image, SAMPLE_FORMAT, 1) == 2:
        return f"signed {bits}-bit pixels: add {2 ** (bits - 1)}, and save it as unsigned"
    if is_deep and "transparency" in image.info:
        return "transparent pixels of 16 bits are not supported: save it without alpha"
    return None


def _tag(image: Image.Image, tag: int, otherwise: int) -> int:
    """Return the first value of a TIFF's tag, or ``otherwise``."""
    found = getattr(image, "tag_v2", {}).get(tag, otherwise)
    return int(found[0] if isinstance(found, tuple) else found)


@contextlib.contextmanager
def _named(path: File | str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise WTFlowError(f"{path}: {error}") from error


@contextlib.contextmanager
def _one_line(path: File | str) -> Iterator[None]:
    """Turn any error of a decoder (OSError, SyntaxError, struct.error, ...) into a WTFlowError."""
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
        return "permission denied: check its permissions"
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        return f"has more than {most} million pixels: scale it down, or cut it into several"
    if isinstance(error, UnidentifiedImageError):
        formats = ", ".join(FORMATS)
        reason = f"none of the formats {formats}, or unsupported floating-point pixels: in colour, "
        reason += "or of 16 or 64 bits"
    else:
        # The operating system's messages repeat the path at their end.
        reason = one_line(error).replace(f": {path!r}", "")
    return f"cannot be decoded ({reason}): replace the file or remove it"


def _to_rgb(path: File | str, image: Image.Image) -> Image.Image:
    try:
        if image.has_transparency_data:
            return over_black(image)
        # Converting an RGB image would copy it.
        return image if image.mode == "RGB" else image.convert("RGB")
    except ValueError as error:
        raise WTFlowError(
            f"{path}: pixel mode {image.mode} cannot become RGB: convert it to an 8-bit image"
        ) from error


def over_black(image: Image.Image) -> Image.Image:
    """Return an image as RGB, with transparent pixels laid over black."""
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
