"""Pixels of more than eight bits: which value is white, and their conversion to eight bits.

A camera's 10 or 12 bits come in 16-bit files that do not state the bit depth. The highest value in
a model's good images decides it. Without a model, images are read only if they are unambiguous.
"""

import contextlib
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8
from numpy.typing import NDArray

INTEGERS = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))
"""Possible values of white in integer images."""
FLOATS = (1, *INTEGERS)
"""Possible values of white in floating-point images."""
LEAST = 16
"""Floating-point maxima from here on mean 0 to 255 or more; between 1 and this they are errors."""
Deep = Shaped[np.ndarray, "h w *channels"]
"""Integers or floating-point numbers, grey or RGB."""


class White(NamedTuple):
    """The value of white in images of more than eight bits; None if no such image was seen."""

    integers: int | None = None
    floats: int | None = None

    def __str__(self) -> str:
        """Return a line that says how these images are read."""
        said = []
        if self.integers:
            bits = self.integers.bit_length()
            said.append(f"16-bit images are read as {bits} bits: {self.integers} is white")
        if self.floats:
            said.append(f"floating-point images are read as 0 to {self.floats}")
        return "; ".join(said) or "no image of more than 8 bits was seen"

    def joined(self, other: "White") -> "White":
        """Return the white of two groups of images together: the higher value of each kind.

        ValueError: floating-point white is 1 in one group and higher in the other.
        """
        if self.floats and other.floats and (self.floats == 1) != (other.floats == 1):
            found = "0 to 1" if other.floats == 1 else f"0 to {other.floats}"
            raise ValueError(
                f"floating-point pixels of {found}, but images before it have another range: give "
                "all in one range"
            )
        pairs = zip(self, other, strict=True)
        return White(*(max(filter(None, pair), default=None) for pair in pairs))

    def of(self, values: Deep) -> int:
        """Return the value of white for an image.

        ValueError: the image has higher values, or white is unknown.
        """
        high, is_float = _highest(values), values.dtype.kind == "f"
        white = self.floats if is_float else self.integers
        if white is None:
            # Floating-point images are 0 to 1 by convention; above 14 bits only 16 are left.
            if is_float and high <= 1:
                return 1
            if not is_float and INTEGERS[-2] < high <= INTEGERS[-1]:
                return INTEGERS[-1]
            kind = "floating-point" if is_float else "16-bit"
            raise ValueError(
                f"{kind} pixels up to {high:.7g}, and the value of white is not known: convert "
                "it to 8 bits, or fit a model on such images"
            )
        if high > white:
            raise ValueError(
                f"its highest value is {high:.7g}, and in the images that the model was fitted on "
                f"{white} is white: set the camera back to that range, or fit a new model"
            )
        return white


def white_in(values: Deep) -> White:
    """Return the white of an image: the lowest of ``INTEGERS``, or ``FLOATS``, not exceeded.

    A black floating-point image has none. ValueError: a value is negative, infinite, NaN or higher
    than any white, or the highest floating-point value is between 1 and ``LEAST``.
    """
    high, is_float = _highest(values), values.dtype.kind == "f"
    if is_float and not high:
        return White()
    if is_float and 1 < high < LEAST:
        raise ValueError(
            f"floating-point pixels up to {high:.7g}: neither 0 to 1 nor 0 to 255; clip them to 1"
        )
    kinds = FLOATS if is_float else INTEGERS
    if high > kinds[-1]:
        raise ValueError(f"its highest value is {high:.7g}: convert it to 8 or 16 bits")
    white = next(white for white in kinds if high <= white)
    return White(floats=white) if is_float else White(integers=white)


def _highest(values: Deep) -> float:
    low, high = float(values.min()), float(values.max())
    # NaN makes the comparison false.
    if not 0 <= low <= high < np.inf:
        raise ValueError(f"pixels from {low:.7g} to {high:.7g}: negative, infinite or NaN values")
    return high


def eight_bits(values: Deep, white: int) -> UInt8[np.ndarray, "h w *channels"]:
    """Return round(255·v / white) for values v from 0 to white."""
    if values.dtype.kind == "f":
        return np.rint(values * (255 / white)).astype(np.uint8)
    table = ((255 * np.arange(white + 1) + white // 2) // white).astype(np.uint8)
    # Row by row: indexing copies its indices to eight bytes per pixel.
    return np.stack([table[row] for row in values])


MAGIC = b"\x93NUMPY"


def holds_array(path: Path) -> bool:
    """Return whether a file is a .npy file, by its first bytes."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC
    return False


def packed(values: NDArray[Any]) -> bytes:
    """Return an array as the content of a .npy file."""
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def unpacked(content: bytes) -> Deep:
    """Return the array of a .npy file; ValueError if its values cannot be pixels."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    reader = {(1, 0): np.lib.format.read_array_header_1_0}.get(version)
    if reader is None:
        raise ValueError(f"version {version} of the .npy format, only (1, 0) is read")
    shape, is_fortran, dtype = reader(file)
    known = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
    if dtype.kind not in "biuf" or dtype in (np.int64, np.uint64) or not known or 0 in shape:
        raise ValueError(
            f"an array of {dtype} {shape}: give bool, uint8, uint16 or floats, (height, width) or "
            "(height, width, 1 or 3)"
        )
    # Not read by NumPy's reader: the header is untrusted, and may state any size.
    values = np.frombuffer(content, dtype, int(np.prod(shape)), file.tell())
    values = values.reshape(shape, order="F" if is_fortran else "C")
    values = values[..., 0] if shape[2:] == (1,) else values
    if values.dtype == np.bool_:
        return values * np.uint8(255)
    return np.ascontiguousarray(values, dtype.newbyteorder("="))
