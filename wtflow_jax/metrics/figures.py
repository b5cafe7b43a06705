"""Scored test images, their figures in %, and the file that keeps them for a report."""

import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Bool, Float, Int

from wtflow_jax import metrics
from wtflow_jax.data.inverted import Marked, doubt
from wtflow_jax.geometry.radial import Radii
from wtflow_jax.metrics.threshold import Threshold
from wtflow_jax.support.atomic import replacing
from wtflow_jax.support.errors import WTFlowError

Figures = dict[str, float | None]

FILE = "scores.npz"
"""What ``save`` writes, in a run."""
IMAGE = ("image_auroc", "image_ap", "image_f1")
PIXEL = {
    "auroc": "pixel_auroc",
    "average_precision": "pixel_ap",
    "f1_max": "pixel_f1",
    "aupro": "pixel_aupro",
}
"""Metrics of pixels: their names in ``metrics.pixel_metrics`` and here."""
TITLES = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1": "pixel F1-max",
    "pixel_aupro": "AUPRO",
}
"""Of metrics, in print."""


class Tested(NamedTuple):
    """Test images with their scores, and what is known of them.

    Attributes:
        paths: of n image files.
        kinds: ``good`` or a defect's name.
        labels: whether each is defective (n,).
        known: whether its defective pixels are known (n,).
        scores: higher is more anomalous (n,).
        maps: of the anomaly (n, H, W).
        masks: defective pixels (n, H, W); None where no defect has a mask.
        radii: of some images; None where nobody looked.
    """

    paths: Sequence[str]
    kinds: Sequence[str]
    labels: Bool[np.ndarray, " n"]
    known: Bool[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"]
    maps: Float[np.ndarray, "n H W"]
    masks: Bool[np.ndarray, "n H W"] | None = None
    radii: Radii | None = None


def some(tested: Tested, chosen: Bool[np.ndarray, " n"]) -> Tested:
    """Return some of the images; radii are of all or none."""
    indices = np.flatnonzero(chosen).tolist()
    return Tested(
        [tested.paths[i] for i in indices],
        [tested.kinds[i] for i in indices],
        tested.labels[chosen],
        tested.known[chosen],
        tested.scores[chosen],
        tested.maps[chosen],
        None if tested.masks is None else tested.masks[chosen],
    )


def evenly(count: int, most: int) -> Int[np.ndarray, " m"]:
    """Return indices below a count, evenly spaced from the first to the last, so many at most."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


def percent(value: float | None) -> float | None:
    """Return a share in %; None stays None."""
    return None if value is None else 100 * value


def of_images(
    scores: Float[np.ndarray, " n"], labels: Bool[np.ndarray, " n"], kinds: Sequence[str]
) -> Figures:
    """Return the metrics of image scores: AUROC, AP, F1-max, and AUROC of each kind of defect."""
    found: Figures = dict.fromkeys(IMAGE)
    # Which of the two is lacking is said by ``lacking``.
    if 0 < labels.sum() < len(labels):
        f1 = metrics.f1_max(scores, labels)
        found = {
            "image_auroc": percent(metrics.auroc(scores, labels)),
            "image_ap": percent(metrics.average_precision(scores, labels)),
            "image_f1": None if f1 is None else 100 * f1.value,
        }
    for kind in sorted({kind for kind, bad in zip(kinds, labels, strict=True) if bad}):
        of_kind = np.array([k == kind for k in kinds])
        some = ~labels | of_kind
        found[f"image_auroc {kind}"] = percent(metrics.auroc(scores[some], of_kind[some]))
    return found


def of_pixels(
    maps: Float[np.ndarray, "n H W"],
    masks: Bool[np.ndarray, "n H W"],
    regions: metrics.Regions | None = None,
) -> Figures:
    """Return the metrics of pixels: AUROC, AP, F1-max and AUPRO."""
    found = metrics.pixel_metrics(maps, masks, regions)
    return {name: percent(found[key]) for key, name in PIXEL.items()}


def lacking(labels: Bool[np.ndarray, " n"], known: Bool[np.ndarray, " n"], first: str) -> None:
    """Warn of what has no metric, or not all pixels.

    Args:
        labels: whether each image is defective.
        known: whether its defective pixels are known.
        first: path of the first whose are not.
    """
    if not 0 < labels.sum() < len(labels):
        # Pixels of defective images alone have metrics: most of them are good.
        kind, of = ("good", " of images") if labels.any() else ("defective", "")
        message = f"no {kind} test image: there are scores and maps, and no metrics{of}"
        warnings.warn(message, metrics.UndefinedMetric, stacklevel=2)
    if unknown := int((~known).sum()):
        message = (
            f"pixels of {unknown} defective images are not known, the first is {first}: "
            "it has no mask, and they are left out"
        )
        warnings.warn(message, metrics.UndefinedMetric, stacklevel=2)


def doubted(
    paths: Sequence[str], labels: Bool[np.ndarray, " n"], masks: Bool[np.ndarray, "n H W"] | None
) -> None:
    """Warn where masks may be inverted: metrics of pixels then mean nothing.

    Args:
        paths: of the images.
        labels: whether each is defective and has a mask.
        masks: defective pixels; None where no defect has a mask.
    """
    if masks is not None:
        chosen = np.flatnonzero(labels).tolist()
        marked = [Marked(paths[i], float(masks[i].mean())) for i in chosen]
        if message := doubt(marked):
            warnings.warn(message, metrics.UndefinedMetric, stacklevel=2)


@contextmanager
def reasons() -> Iterator[list[str]]:
    """Collect why metrics are undefined or in doubt, each reason once, in place of warnings."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", metrics.UndefinedMetric)
        yield found
    undefined = [w for w in caught if issubclass(w.category, metrics.UndefinedMetric)]
    found += dict.fromkeys(str(w.message) for w in undefined)


def decided(
    threshold: Threshold,
    held_out: int,
    scores: Float[np.ndarray, " n"],
    labels: Bool[np.ndarray, " n"],
) -> dict[str, Any]:
    """Return what a threshold does to test images.

    Args:
        threshold: set without them.
        held_out: the number of good images that it was set by.
        scores: of the test images.
        labels: whether each is defective.
    """
    above = scores > threshold.value
    return {
        "threshold": threshold.value,
        "promised": percent(threshold.rate),
        "images": held_out,
        "false_alarms": percent(mean(above[~labels])),
        "detected": percent(mean(above[labels])),
    }


def mean(values: np.ndarray) -> float | None:
    """Return the mean; None of nothing."""
    return float(values.mean()) if len(values) else None


def save(path: Path, tested: Tested) -> None:
    """Write scored images to an .npz file: ``path``, ``label``, ``score``, ``map`` and more."""
    arrays: dict[str, Any] = {
        "path": np.array(tested.paths),
        "kind": np.array(tested.kinds),
        "label": tested.labels,
        "known": tested.known,
        "score": tested.scores,
        "map": tested.maps,
    }
    if tested.masks is not None:
        arrays["mask"] = tested.masks
    if tested.radii is not None:
        arrays |= {f"radii_{name}": value for name, value in tested.radii._asdict().items()}
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)


def load(path: Path) -> Tested:
    """Read what ``save`` wrote.

    Raises:
        WTFlowError: the file is missing, damaged, or of another version.
    """
    try:
        with np.load(path) as file:
            if any(member.compress_type for member in file.zip.infolist()):
                # Nothing says how large it would become.
                raise ValueError("its arrays are compressed")
            arrays = {name: file[name] for name in file.files}
        _check(arrays)
        radii = None
        if "radii_of" in arrays:
            of, values, start, root_d = (arrays[f"radii_{name}"] for name in Radii._fields)
            radii = Radii(of, values, float(start), float(root_d))
        return Tested(
            arrays["path"].tolist(),
            arrays["kind"].tolist(),
            arrays["label"],
            arrays["known"],
            arrays["score"],
            arrays["map"],
            arrays.get("mask"),
            radii,
        )
    # What numpy and zipfile raise on bytes that are none of theirs.
    except (
        *(OSError, ValueError, TypeError, LookupError, EOFError, MemoryError, OverflowError),
        *(BadZipFile, NotImplementedError, RuntimeError, SyntaxError, zlib.error),
    ) as error:
        raise WTFlowError(f"{path}: cannot be read ({error}); run it again") from error


def _check(arrays: dict[str, np.ndarray]) -> None:
    """Raise ValueError where arrays are not what ``save`` writes."""
    kinds = {"path": "U1", "kind": "U1", "label": "b1", "known": "b1", "score": "f1", "map": "f3"}
    kinds |= {"mask": "b3"} if "mask" in arrays else {}
    for name, kind in kinds.items():
        if f"{arrays[name].dtype.kind}{arrays[name].ndim}" != kind:
            raise ValueError(f"{name} is {arrays[name].dtype} of {arrays[name].ndim} axes")
        if len(arrays[name]) != len(arrays["path"]):
            raise ValueError(f"{name} is of {len(arrays[name])} images")
    if not arrays["map"].size or ("mask" in arrays and arrays["mask"].shape != arrays["map"].shape):
        raise ValueError("map is empty, or mask of another size")
