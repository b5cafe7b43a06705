"""Pixels of more than eight bits: which value is white, and what eight bits they become.

A camera's 10 or 12 bits come in files of 16, and no file says so: of the good images of a model the
highest value does. Where nobody has looked, values are read if there is one way to.
"""

import contextlib
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8
from numpy.typing import NDArray

INTEGERS = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))
"""What may be white in integers."""
FLOATS = (1, *INTEGERS)
"""And in floating point."""
LEAST = 16
"""Of floating-point values above 1, that are taken for 0 to 255 or more: less is overshoot."""
Deep = Shaped[np.ndarray, "h w *channels"]
"""Integers or floating-point numbers, grey or RGB."""


class White(NamedTuple):
    """Which value is white, in images of more than eight bits; None where no such one was seen."""

    integers: int | None = None
    floats: int | None = None

    def __str__(self) -> str:
        """Return how such images are read, as a line."""
        said = []
        if self.integers:
            bits = self.integers.bit_length()
            said.append(f"16-bit images are read as {bits} bits: {self.integers} is white")
        if self.floats:
            said.append(f"floating-point images are read as 0 to {self.floats}")
        return "; ".join(said) or "no image of more than 8 bits was seen"

    def joined(self, other: "White") -> "White":
        """Return what is white in images of which some have one white, and some another.

        ValueError: 1 in some floating-point images, and more in others.
        """
        if self.floats and other.floats and (self.floats == 1) != (other.floats == 1):
            found = "0 to 1" if other.floats == 1 else f"0 to {other.floats}"
            raise ValueError(
                f"floating-point pixels of {found}, and those before it are of another range: give "
                "all in one"
            )
        pairs = zip(self, other, strict=True)
        return White(*(max(filter(None, pair), default=None) for pair in pairs))

    def of(self, values: Deep) -> int:
        """Return which value is white in an image.

        ValueError: it has higher ones, or it is not known.
        """
        high, is_float = _highest(values), values.dtype.kind == "f"
        white = self.floats if is_float else self.integers
        if white is None:
            # More than half of 16 bits, and what floating-point images are by convention.
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
                f"{white} is white: the camera sends other values now; set it back, or fit anew"
            )
        return white


def white_in(values: Deep) -> White:
    """Return what is white in an image: the least of ``INTEGERS``, or ``FLOATS``, not exceeded.

    Black floating-point images say nothing. ValueError: there is a negative, infinite or NaN value,
    or one that is higher than any white; floating-point ones just above 1.
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
    # Not so of NaN, too.
    if not 0 <= low <= high < np.inf:
        raise ValueError(f"pixels from {low:.7g} to {high:.7g}: negative, infinite or NaN ones")
    return high


def eight_bits(values: Deep, white: int) -> UInt8[np.ndarray, "h w *channels"]:
    """Return round(255·v / white), of values from 0 to white."""
    if values.dtype.kind == "f":
        return np.rint(values * (255 / white)).astype(np.uint8)
    table = ((255 * np.arange(white + 1) + white // 2) // white).astype(np.uint8)
    # Row by row: a copy of what are indices would be eight bytes a pixel.
    return np.stack([table[row] for row in values])


MAGIC = b"\x93NUMPY"


def holds_array(path: Path) -> bool:
    """Return whether a file is a .npy file, by what it holds."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC
    return False


def packed(values: NDArray[Any]) -> bytes:
    """Return an array as the content of a .npy file."""
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def unpacked(content: bytes) -> Deep:
    """Return the array of a .npy file; ValueError where its values cannot be pixels."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    reader = {(1, 0): np.lib.format.read_array_header_1_0}.get(version)
    if reader is None:
        raise ValueError(f"version {version} of the format")
    shape, is_fortran, dtype = reader(file)
    known = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
    if dtype.kind not in "biuf" or dtype in (np.int64, np.uint64) or not known or 0 in shape:
        raise ValueError(
            f"an array of {dtype} {shape}: give bool, uint8, uint16 or floats, (height, width) or "
            "(height, width, 1 or 3)"
        )
    # Of what is there: a header may promise anything.
    values = np.frombuffer(content, dtype, int(np.prod(shape)), file.tell())
    values = values.reshape(shape, order="F" if is_fortran else "C")
    values = values[..., 0] if shape[2:] == (1,) else values
    if values.dtype == np.bool_:
        return values * np.uint8(255)
    return np.ascontiguousarray(values, dtype.newbyteorder("="))
