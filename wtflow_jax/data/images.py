"""The one preprocessing there is: decode and resize on the host, with Pillow."""

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
"""Sides are multiples of it, unless a backbone says otherwise: the deepest stride of them."""
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
"""Decoders that are tried, whatever a file is called: others start programs, or are seldom used."""
WINDOW = 1 << 23
"""Pixels of what a backbone is given, at most: some of them are in memory at a time."""
LARGE = 1 << 25
"""Pixels from which on an image is not decoded beside others."""
LOW_BYTE = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
"""Of 16-bit colours Pillow keeps the high byte; told that they are stored the other way round, the
low one."""
BITS, PHOTOMETRIC, SAMPLES, PLANAR, EXTRA, SAMPLE_FORMAT = 258, 262, 277, 284, 338, 339
"""Tags of TIFF."""
UNKNOWN = White()
FEW = 0.1
"""Of images of more than eight bits: a share that should not decide alone what is white."""

# Pillow warns of images half as large as those it refuses, and of odd metadata. Here an image is
# read, or a line says why not.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


def read_image(
    path: File, size: tuple[int, int], white: White = UNKNOWN
) -> UInt8[np.ndarray, "H W 3"]:
    """Decode an image and resize it: bilinear, antialiased where it shrinks.

    ``size`` is H and W in pixels; else as ``open_image``.
    """
    height, width = size
    resized = open_image(path, white).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(resized)


def open_image(path: File, white: White = UNKNOWN) -> Image.Image:
    """Decode an image; RGB, as large as it is stored.

    The file's contents say which of ``FORMATS`` it is. It is turned as its EXIF orientation says.
    Grey is repeated in the three channels, palettes and CMYK become RGB, and what is transparent
    is laid over black. Values of more than eight bits become round(255·v / white).

    Raises:
        WTFlowError: it cannot be decoded, has several frames, more bands than are colours, or
            values of which is not known how bright they are.
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
    """Decode an image as Pillow has it, turned as its EXIF orientation says; see ``open_image``."""
    with _one_line(path), _opened(path.read_bytes()) as image:
        _load(path, image)
        ImageOps.exif_transpose(image, in_place=True)
        return image


def white_of(files: Sequence[File], track: Track = untracked) -> White:
    """Return which value is white in images that are of one camera; errors as ``open_image``.

    Of images of eight bits only the beginning is read; of others progress is shown.
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
    """Warn where few images alone say how bright all are: of another camera all would be dark."""
    deep = [i for i, found in enumerate(each) if found is not None]
    brightest = [i for i in deep if each[i] == white]
    if not white or 1 < len(brightest) > FEW * len(deep) or len(deep) == 1:
        return
    others = max((each[i] or 0 for i in deep if each[i] != white), default=white)
    if others < white:
        warnings.warn(
            f"{listed([str(files[i]) for i in brightest])}: brighter than {others}, which the "
            f"other {len(deep) - len(brightest)} images do not exceed, so {white} is white and "
            "they are dark: leave it out if another camera took it",
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
    """Return an open file, of which no more is read than is asked for."""
    return path.open("rb") if isinstance(path, Path) else io.BytesIO(path.read_bytes())


class _Stored(NamedTuple):
    image: Image.Image
    values: Deep | None = None  #: those of more than eight bits, grey or RGB
    white: int | None = None  #: which of these the file says is white


def _stored(path: File) -> _Stored:
    """Decode an image, with all bits that it has."""
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
    """Return whether an image that was not loaded is grey of more than eight bits; or any such."""
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
    """Return a user's image, which stays as it is, as a file that ``open_image`` reads.

    It is kept without loss; ``name`` is for messages. Errors as ``open_image``.
    """
    with _one_line(name):
        is_grey, is_deep = _depth(image)
        if is_deep and not is_grey:
            reason = "colours of 16 bits, of which Pillow keeps 8: give its path"
            raise WTFlowError(f"{name}: {reason}, or an array of uint16")
        _load(name, image)
        turned = ImageOps.exif_transpose(image)
        if is_deep:
            return depth.packed(np.asarray(turned))
        file = io.BytesIO()
        _to_rgb(name, turned).save(file, "BMP")
        return file.getvalue()


def is_large(path: File) -> bool:
    """Return whether an image has ``LARGE`` pixels or more; one that cannot be opened has not."""
    try:
        with _beginning(path) as file, Image.open(file, formats=FORMATS) as image:
            return image.width * image.height >= LARGE
    # Whatever it is, it is told when the image is decoded.
    except Exception:
        return False


def parse_size(text: object, multiple: int = MULTIPLE, of: str = "a backbone") -> tuple[int, int]:
    """Return the height and width of ``512`` (square) or ``512x1280``, in pixels.

    WTFlowError: not of that form, not multiples of what the backbone ``of`` takes, or too large.
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
    # Telephones put what else they have to say of a picture behind it.
    if image.format != "MPO":
        # Counting the frames of a TIFF takes their square.
        with contextlib.suppress(EOFError):
            image.seek(1)
            several = "has several frames or pages, and the right one is not known"
            raise WTFlowError(f"{path}: {several}: save it as a file of its own")
        image.seek(0)
    image.load()


def _misread(image: Image.Image) -> str | None:
    """Return what Pillow would leave out or take for something else, if anything."""
    _, is_deep = _depth(image)
    raws = [_raw(tile.args) for tile in getattr(image, "tile", [])]
    if any(raw.startswith(("LA;16", "RGBa;16")) for raw in raws):
        return "transparent pixels of 16 bits, of which 8 would be read: save it without alpha"
    bands = len(image.getbands())
    if image.mode == "RGBA" and _tag(image, SAMPLES, 0) == 4 and _tag(image, EXTRA, 0) == 0:
        # Pillow takes a fourth band for transparency where nobody says what it is.
        bands = 3
    if (samples := _tag(image, SAMPLES, bands)) > bands and image.mode != "P":
        return f"{samples} bands, of which {bands} would be read: save those that count as RGB"
    if _tag(image, PLANAR, 1) == 2 and _tag(image, BITS, 8) > 8 and raws and ";" not in raws[0]:
        return "16-bit bands one after the other, which are not read: save it as PNG"
    if is_deep and _tag(image, PHOTOMETRIC, 1) == 0:
        return "more than eight bits with white as zero: invert it"
    if (bits := _tag(image, BITS, 32)) <= 16 and _tag(image, SAMPLE_FORMAT, 1) == 2:
        return f"signed {bits}-bit pixels: add {2 ** (bits - 1)}, and save it as unsigned"
    if is_deep and "transparency" in image.info:
        return "transparent pixels of 16 bits, which are not read: save it without alpha"
    return None


def _tag(image: Image.Image, tag: int, otherwise: int) -> int:
    """Return the first value of a TIFF's tag."""
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
        formats = ", ".join(FORMATS)
        reason = f"none of the formats {formats}, or values that are not read: floating-point ones "
        reason += "in colour, or of 16 or 64 bits"
    else:
        # The operating system's messages end with the path: once is enough.
        reason = one_line(error).replace(f": {path!r}", "")
    return f"cannot be decoded ({reason}): replace the file or remove it"


def _to_rgb(path: File | str, image: Image.Image) -> Image.Image:
    try:
        if image.has_transparency_data:
            return over_black(image)
        # Converting what is RGB would copy it.
        return image if image.mode == "RGB" else image.convert("RGB")
    except ValueError as error:
        raise WTFlowError(
            f"{path}: pixel mode {image.mode} cannot become RGB: convert it to an 8-bit image"
        ) from error


def over_black(image: Image.Image) -> Image.Image:
    """Return an image as RGB, what is transparent laid over black."""
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
