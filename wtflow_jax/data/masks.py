"""Masks of defective pixels: as stored, resized, and a check whether they are inverted."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray
from PIL import Image

from wtflow_jax.data.images import decode, over_black
from wtflow_jax.data.sample import File, Sample
from wtflow_jax.support.errors import WTFlowError

LOSSLESS = ("PNG", "BMP", "TIFF", "GIF")
"""Formats of masks: other formats blur edges, and each pixel above zero counts as defective."""


def read_mask(sample: Sample, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Return the defective pixels of a sample: where any of its masks is above zero.

    All false for a good image, and for a defect without masks; ``size`` is H and W in pixels,
    resized by nearest neighbour.

    Raises:
        WTFlowError: a file cannot be decoded, or a mask does not have the image's size.
    """
    union = np.zeros(size, bool)
    for _, values in masks_of(sample):
        # United after resizing: a nearest neighbour picks the same pixel of each.
        union |= resize_mask(values > 0, size)
    return union


def masks_of(sample: Sample) -> Iterator[tuple[File, NDArray[Any]]]:
    """Yield each mask's file and values (image height, image width); errors as ``read_mask``."""
    if not sample.masks:
        return
    # By decoding, not from the header: an EXIF orientation may be stored after the pixels.
    width, height = decode(sample.path).size
    for path in sample.masks:
        values = read_labels(path)
        if values.shape != (height, width):
            raise WTFlowError(
                f"{path}: a mask of {values.shape[0]}x{values.shape[1]} pixels (height x width) "
                f"for {sample.path}, which has {height}x{width}: give a mask of the image's size"
            )
        yield path, values


def read_labels(path: File) -> NDArray[Any]:
    """Return the values of a mask as stored, bool or integer (height, width).

    In a colour mask the largest channel counts; transparent pixels are zero. WTFlowError: the file
    cannot be decoded, or its format blurs edges.
    """
    image = decode(path)
    if image.format not in LOSSLESS or image.info.get("compression") == "jpeg":
        raise WTFlowError(
            f"{path}: a mask as {image.format}, which blurs its edges, but each pixel above zero "
            "is defective: save it as PNG in the program that drew it"
        )
    # A palette image is a label map: its indices count, not the colours they are shown in.
    if image.mode != "P" and image.has_transparency_data:
        image = over_black(image)
    values = np.asarray(image)
    return values.max(axis=-1) if values.ndim == 3 else values


def resize_mask(mask: Bool[np.ndarray, "h w"], size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Return a mask at another size, height and width, by nearest neighbour."""
    image = Image.fromarray(mask.astype(np.uint8))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.NEAREST)) > 0


def doubt(marked: Mapping[str, float]) -> str | None:
    """Return a line that asks whether masks are inverted; None if they look right.

    ``marked`` maps the path of each of a category's defective images with masks to its share of
    marked pixels. Masks look inverted if the median share is above one half: a single large defect
    is no reason.
    """
    if not marked or np.median([*marked.values()]) <= 0.5:
        return None
    path, share = max(marked.items(), key=lambda one: one[1])
    return (
        f"{path}: its mask marks {share:.0%} of it, and most masks mark more than half of their "
        "image: are they inverted? Pixels above zero are defective"
    )
