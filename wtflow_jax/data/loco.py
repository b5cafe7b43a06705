"""Reader for MVTec LOCO: several masks an image, and how much of each defect must be found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wtflow_jax.data.files import (
    GOOD,
    by_stem,
    categories_in,
    choose,
    files,
    good,
    has_split,
    images,
    kinds,
    without_mask,
)
from wtflow_jax.data.images import masks_of, resize_mask
from wtflow_jax.data.sample import Category, Sample, Saturation
from wtflow_jax.support import untrusted
from wtflow_jax.support.errors import WTFlowError

LAYOUT = "CATEGORY/train/good and CATEGORY/test/{good,logical_anomalies,structural_anomalies}"
CONFIG = "defects_config.json"
MOST = 1 << 31
"""Pixels that a saturation may be at most."""


class Defect(NamedTuple):
    """One annotated region of an image; with the image's index it is a ``metrics.Region``.

    Attributes:
        mask: its pixels, bool [height, width]; at least one.
        saturation: how many of them count as the whole, above zero; may be a fraction.
    """

    mask: NDArray[np.bool_]
    saturation: float


def categories(root: Path) -> tuple[str, ...]:
    """Names of the categories in a data set.

    Args:
        root: the directory that holds one directory a category.

    Returns:
        Sorted names of the directories laid out as MVTec LOCO is.

    Raises:
        WTFlowError: no such directory, no category in it, or it is itself a category.
    """
    return categories_in(root, has_split, LAYOUT)


def open_category(root: Path, name: str) -> Category:
    """Lists one category's images; no image is opened.

    Args:
        root: the directory that holds one directory a category.
        name: the category.

    Returns:
        Training, test and validation samples, and the saturation of each defect.

    Raises:
        WTFlowError: as ``categories``; no such category; no training images; no test images; a
            defective image without masks; ``defects_config.json`` cannot be read as published.
    """
    category = choose(root, name, categories(root))
    train = good(images(category / "train" / GOOD, "training images"))
    test: list[Sample] = []
    for kind in kinds(category):
        paths = images(kind, "test images")
        if kind.name == GOOD:
            test += good(paths)
            continue
        for path in by_stem(paths).values():
            directory = category / "ground_truth" / kind.name / path.stem
            masks = files(directory)
            if not masks:
                raise without_mask(path, directory / "000.png")
            test.append(Sample(path, 1, kind.name, tuple(masks)))
    validation = good(files(category / "validation" / GOOD))
    return Category(name, train, tuple(test), validation, read_saturations(category / CONFIG))


def read_saturations(path: Path) -> dict[int, Saturation]:
    """Reads ``defects_config.json``.

    Args:
        path: a list of objects with ``pixel_value``, ``saturation_threshold`` and
            ``relative_saturation``.

    Returns:
        The saturation of a defect by the value that marks it in a mask.

    Raises:
        WTFlowError: it cannot be read, or is something else.
    """
    try:
        return dict(map(_entry, untrusted.parse(path.read_bytes())))
    # KeyError and TypeError: other fields, or no list of objects at all.
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise WTFlowError(
            f"{path}: not a table of defects "
            f"({getattr(error, 'strerror', None) or reason}): restore the published file"
        ) from error


def regions(
    sample: Sample, size: tuple[int, int], saturations: Mapping[int, Saturation]
) -> list[Defect]:
    """Each mask of an image at another size, with its saturation there (MVTec LOCO, Sec. 4).

    A relative saturation is a share of the defect's area; an absolute one is in pixels of the
    mask as published, so it shrinks or grows with the image, and is at most the defect's area.
    The official evaluation rounds relative ones down, which at a smaller size could leave none.

    Args:
        sample: its masks must be as large as its image.
        size: height and width in pixels, reached by nearest neighbour.
        saturations: as the category has them.

    Returns:
        One a mask file, in order; none for a good image. A defect of which no pixel is left at
        that size is left out.

    Raises:
        WTFlowError: a file cannot be decoded; a mask is not as large as the image, marks nothing
            or marks more than one defect; its defect is not among ``saturations``.
    """
    found: list[Defect] = []
    for path, values in masks_of(sample):
        marks = [int(value) for value in np.unique(values) if value]
        if len(marks) != 1:
            raise WTFlowError(
                f"{path}: {len(marks)} values above zero ({', '.join(map(str, marks[:5]))}) "
                "where one marks the defect: restore the published mask"
            )
        if marks[0] not in saturations:
            known = ", ".join(map(str, sorted(saturations))) or "none"
            raise WTFlowError(
                f"{path}: value {marks[0]} marks no defect of {CONFIG} ({known}): "
                "restore the published files"
            )
        mask = resize_mask(values > 0, size)
        threshold, relative = saturations[marks[0]]
        area = float(mask.sum())
        if area:
            absolute = threshold * mask.size / values.size
            found.append(Defect(mask, threshold * area if relative else min(absolute, area)))
    return found


def _entry(fields: Mapping[str, Any]) -> tuple[int, Saturation]:
    value = fields["pixel_value"]
    threshold = fields["saturation_threshold"]
    relative = fields["relative_saturation"]
    if not (isinstance(value, int) and 1 <= value <= 255):
        raise ValueError(f"pixel_value {value!r} is not in 1 to 255")
    if not isinstance(relative, bool):
        raise ValueError(f"relative_saturation {relative!r} is neither true nor false")
    most = 1 if relative else MOST
    if not isinstance(threshold, int | float) or not 0 < threshold <= most:
        raise ValueError(f"saturation_threshold {threshold!r} is no share or number of pixels")
    return value, Saturation(float(threshold), relative)
