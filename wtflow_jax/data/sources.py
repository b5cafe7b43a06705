"""Finds a user's images: the only entry, for paths, files, images, arrays and lists of them."""

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wtflow_jax.data.depth import MAGIC, holds_array, packed
from wtflow_jax.data.files import extensions, is_image, nested, walk
from wtflow_jax.data.images import encode
from wtflow_jax.data.sample import File, Held
from wtflow_jax.support.errors import WTFlowError

STDIN = "-"
ARRAYS = "give bool, uint8, uint16 or floats, (height, width) or (height, width, 1, 3 or 4)"
Encoded = bytes | bytearray | memoryview
WANTED = (
    "give paths, images in memory (bytes, a file opened with 'rb', PIL, arrays), or a list of these"
)


def find(source: Any, *, stdin: bool = False, bgr: bool = False) -> Iterator[File]:
    """Yield the images of a source, in order.

    Args:
        source: one of these, or an iterable of them. A path, str or Path: a file, a directory with
            images in it and below, or a pattern with \\*, ? or [...], \\*\\* for directories at any
            depth. An encoded image: bytes or a binary file. A PIL image. An array (NumPy, JAX) of
            one image, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), the last channel transparency, or
            of several, (N, H, W, C). Arrays are bool, uint8, uint16 or floating point; for the last
            two see ``depth.White``.
        stdin: whether "-" means a list of paths on standard input, one per line.
        bgr: whether colours of arrays are blue, green, red, as in OpenCV; not for encoded images.

    Returns:
        Paths as given. Each image in memory is copied into a ``Held``, named by its position:
        ``image 3``. Iterables are read only as far as images are requested.

    Raises:
        WTFlowError: a path does not exist, contains no image, or a value is not an image.
    """
    for place, one in enumerate(_each(source, stdin), 1):
        name = f"image {place}"
        if bgr and isinstance(one, Path) and holds_array(one):
            raise WTFlowError(f"{one}: bgr is for arrays in memory: give numpy.load('{one.name}')")
        yield one if isinstance(one, File) else Held(name, partial(bytes, _encoded(name, one, bgr)))


def is_one(source: Any) -> bool:
    """Return whether a source of ``find`` is a single image."""
    if isinstance(source, str | os.PathLike):
        return os.path.isfile(source)
    if hasattr(source, "__array__") and not isinstance(source, Image.Image):
        return np.ndim(source) < 4
    return isinstance(source, File | Encoded | Image.Image) or hasattr(source, "read")


def _each(source: Any, stdin: bool) -> Iterator[Any]:
    """Yield paths, ``Held`` images, and images in memory that are not checked yet."""
    if isinstance(source, str | os.PathLike):
        yield from _paths(os.fspath(source), stdin)
    elif isinstance(source, File | Encoded | Image.Image) or hasattr(source, "read"):
        yield source
    elif hasattr(source, "__array__"):
        array = np.asarray(source)
        yield from array if array.ndim == 4 and len(array) else [array]
    elif isinstance(source, Iterable):
        found = (image for one in source for image in _each(one, stdin))
        yield from _some(found, f"an empty {type(source).__name__}: give at least one image")
    else:
        raise WTFlowError(f"a value of type {type(source).__name__}: not an image; {WANTED}")


def _encoded(name: str, image: Any, bgr: bool) -> bytes:
    if isinstance(image, Encoded):
        if bgr and bytes(image[: len(MAGIC)]) == MAGIC:
            raise WTFlowError(f"{name}: bgr is for arrays, but this is a .npy file: numpy.load it")
        return bytes(image)
    if isinstance(image, Image.Image):
        return encode(name, image)
    if isinstance(image, np.ndarray):
        return _of_array(name, image, bgr)
    try:
        content = image.read()
    except (OSError, ValueError) as error:
        raise WTFlowError(f"{name}: cannot be read ({error}): open it with 'rb'") from error
    if not isinstance(content, bytes) or not content:
        what = "at its end" if not content else "opened as text"
        raise WTFlowError(f"{name}: a file that is {what}: open it anew, with 'rb'")
    return content


def _of_array(name: str, array: np.ndarray, bgr: bool) -> bytes:
    known = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype.kind not in "buf" or array.dtype.itemsize > 8 or not known or not array.size:
        raise WTFlowError(f"{name}: an array of {array.dtype} {array.shape}: {ARRAYS}")
    if array.dtype == bool:
        array = array * np.uint8(255)
    array = array.reshape(array.shape[:2]) if array.shape[2:] == (1,) else array
    if bgr and array.ndim == 3:
        array = array[..., [2, 1, 0, 3][: array.shape[2]]]
    if array.dtype == np.uint8:
        return encode(name, Image.fromarray(np.ascontiguousarray(array)))
    if array.shape[2:] == (4,):
        raise WTFlowError(f"{name}: {array.dtype} with transparency: give its three colours")
    return packed(np.ascontiguousarray(array))


def _paths(given: str, stdin: bool) -> Iterator[Path]:
    nothing = f"{given}: no image in it ({extensions()})"
    if not given:
        raise WTFlowError(f"an empty path; {WANTED}")
    if stdin and given == STDIN:
        # Bytes: names need not be UTF-8.
        lines = (line.rstrip(b"\r\n") for line in sys.stdin.buffer if line.strip())
        found = (Path(os.fsdecode(line)) for line in lines)
        nothing = "standard input: no path in it; give one a line"
    # os.path.isdir returns False for text too long to be a path, an encoded image for instance.
    elif os.path.isdir(given):
        found = nested(Path(given))
    elif os.path.isfile(given):
        found = iter([Path(given)])
    elif glob.has_magic(given):
        found = (Path(name) for name in sorted(_matches(given)) if is_image(Path(name)))
    else:
        raise WTFlowError(f"{given[:1000]}: no such file or directory")
    yield from _some(found, nothing)


def _some(found: Iterator[Any], otherwise: str) -> Iterator[Any]:
    if (first := next(found, None)) is None:
        raise WTFlowError(otherwise)
    yield first
    yield from found


def _matches(pattern: str) -> set[str]:
    """Return the names that a pattern matches; ``**`` enters each directory only once."""
    parts = pattern.split("/")
    if "**" not in parts:
        return set(glob.glob(pattern))
    at = parts.index("**")
    head, tail = "/".join(parts[:at]), "/".join(parts[at + 1 :]) or "*"
    # The root and the working directory have no name.
    bases = glob.glob(head) if head else ["/" if at else ""]
    found: set[str] = set()
    for base in bases:
        for directory in walk(Path(base)) if os.path.isdir(base or ".") else ():
            found |= _matches(os.path.join(glob.escape(str(directory)), tail))
    return found
