"""MVTec LOCO AD: several masks per image, and the saturation of each defect."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from wtflow_jax.data.files import by_name, categories_in, damage, images, without_mask
from wtflow_jax.data.layouts import LAYOUTS, Layout, published
from wtflow_jax.data.layouts.mvtec import by_kind
from wtflow_jax.data.masks import masks_of, resize_mask
from wtflow_jax.data.sample import Category, Sample, Saturation
from wtflow_jax.metrics.regions import Region
from wtflow_jax.support.errors import WTFlowError

CONFIG = "defects_config.json"


def read(root: Path, name: str) -> Category:
    """List a category, with the saturations of ``defects_config.json``."""
    category = root / name

    def masked(kind: Path, paths: list[Path]) -> list[Sample]:
        samples = []
        for stem, path in by_name(paths).items():
            directory = category / "ground_truth" / kind.name / stem
            masks = images(directory)
            if not masks:
                raise without_mask(path, directory / "000.png")
            samples.append(Sample(path, 1, kind.name, tuple(masks)))
        return samples

    listed = by_kind(category, masked)
    return listed._replace(saturations=read_saturations(category / CONFIG))


def read_saturations(path: Path) -> dict[int, Saturation]:
    """Return the saturation of each defect of a ``defects_config.json``, by its value in a mask."""
    found: dict[int, Saturation] = {}
    try:
        for fields in json.loads(path.read_bytes()):
            threshold, relative = fields["saturation_threshold"], fields["relative_saturation"]
            # A share of the defect's area, or a number of pixels.
            if not 0 < threshold <= (1 if relative else 1 << 31):
                raise ValueError(
                    f"saturation_threshold {threshold!r} is neither a share nor a number of pixels"
                )
            found[int(fields["pixel_value"])] = Saturation(float(threshold), bool(relative))
    # KeyError and TypeError: other fields, or no list of objects at all.
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"not a table of defects ({damage(error)}): restore the published file"
        raise WTFlowError(f"{path}: {reason}") from error
    return found


def regions(
    sample: Sample, size: tuple[int, int], saturations: Mapping[int, Saturation], image: int = 0
) -> list[Region]:
    """Return each mask of an image at another size, with its saturation there (LOCO, Sec. 4).

    A relative saturation is a share of the defect's area. An absolute one is in pixels of the
    published mask, so it is scaled with the image, and is at most the defect's area. The official
    evaluation rounds relative ones down, which at a smaller size could result in 0.

    ``size`` is height and width in pixels, resized by nearest neighbour; ``image`` is the sample's
    index in the scores. There is one region per mask file, in order. A good image has no regions;
    a defect without pixels at that size is left out.

    Raises:
        WTFlowError: a file cannot be decoded; a mask does not have the image's size, marks nothing,
            or marks more than one defect; its defect is not in ``saturations``.
    """
    found: list[Region] = []
    for path, values in masks_of(sample):
        marks = [int(value) for value in np.unique(values) if value]
        if len(marks) != 1 or marks[0] not in saturations:
            raise WTFlowError(
                f"{path}: its values above zero are {marks[:5]}, but must be one of {CONFIG}'s "
                f"{sorted(saturations)}: restore the published files"
            )
        mask = resize_mask(values > 0, size)
        threshold, relative = saturations[marks[0]]
        area = float(mask.sum())
        if area:
            absolute = threshold * mask.size / values.size
            whole = threshold * area if relative else min(absolute, area)
            found.append(Region(image, mask, whole))
    return found


looks = "CATEGORY/train/good and CATEGORY/test/{good,logical_anomalies,structural_anomalies}"
categories = partial(categories_in, looks=looks)
source = "Bergmann et al., IJCV 2022"
# The paper counts 354 and 59 of splicing_connectors; the archive holds 360 and 60.
LAYOUTS.add("mvtec_loco")(
    Layout("MVTec LOCO AD", source, categories, read, published("mvtec_loco"))
)
