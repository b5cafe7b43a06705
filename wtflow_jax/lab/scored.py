"""Labelled test images with their scores and maps: the input of results and reports."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from wtflow_jax.data.masks import doubt
from wtflow_jax.geometry.radial import Radii
from wtflow_jax.metrics import UndefinedMetric
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.files import replacing

FILE = "scores.npz"
"""Name of the file that ``save`` writes in a run."""
FORM = {"path": "U1", "kind": "U1", "label": "b1", "known": "b1", "score": "f1", "map": "f3"}
FORM |= {"mask": "b3"}
"""Its arrays, in the order of ``Scored``: dtype kind and number of axes; ``mask`` is optional."""


class Scored(NamedTuple):
    """n test images with their labels, scores and maps."""

    paths: Sequence[str]  #: their files
    kinds: Sequence[str]  #: ``good`` or a defect's name
    labels: Bool[np.ndarray, " n"]  #: whether each is defective
    known: Bool[np.ndarray, " n"]  #: whether its defective pixels are known
    scores: Float[np.ndarray, " n"]  #: higher is more anomalous
    maps: Float[np.ndarray, "n H W"]  #: anomaly maps
    masks: Bool[np.ndarray, "n H W"] | None = None  #: defective pixels; None: no defect has a mask
    radii: Radii | None = None  #: of some images; None if not measured


def evenly(count: int, most: int) -> Int[np.ndarray, " m"]:
    """Return at most ``most`` evenly spaced indices, from 0 to ``count`` − 1."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


def warn(scored: Scored) -> None:
    """Warn (UndefinedMetric) about undefined and doubtful metrics."""
    paths, labels, known, masks = scored.paths, scored.labels, scored.known, scored.masks
    messages = []
    if not 0 < labels.sum() < len(labels):
        # Without good images pixel metrics remain: most pixels of defective images are good.
        kind, of = ("good", "image ") if labels.any() else ("defective", "")
        messages.append(f"no {kind} test image: scores and maps are written, but no {of}metrics")
    if unknown := int((~known).sum()):
        messages.append(
            f"defective images without a mask: {unknown}, the first is "
            f"{paths[int(np.argmin(known))]}; pixel metrics leave them out"
        )
    if masks is not None:
        drawn = np.flatnonzero(labels & known).tolist()
        messages.append(doubt({paths[i]: float(masks[i].mean()) for i in drawn}))
    for message in filter(None, messages):
        warnings.warn(message, UndefinedMetric, stacklevel=2)


def save(path: Path, scored: Scored) -> None:
    """Write scored images to an .npz file: ``path``, ``label``, ``score``, ``map`` and more."""
    own = zip(FORM, scored[:7], strict=True)
    arrays = {name: np.asarray(array) for name, array in own if array is not None}
    if scored.radii is not None:
        arrays |= {f"radii_{name}": value for name, value in scored.radii._asdict().items()}
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]


def load(path: Path) -> Scored:
    """Read a file that ``save`` wrote.

    Raises:
        WTFlowError: the file is missing, damaged, or not a file of ``save``.
    """
    try:
        if not path.is_file():
            raise ValueError("no such file")
        with np.load(path) as file:
            arrays = {name: file[name] for name in FORM if name != "mask" or name in file}
            radii = [file[f"radii_{name}"] for name in Radii._fields if "radii_of" in file]
        for name, array in arrays.items():
            if f"{array.dtype.kind}{array.ndim}" != FORM[name] or len(array) != len(arrays["path"]):
                raise ValueError(f"{name} is {array.dtype} of {array.shape}")
        if not all(np.isfinite(arrays[name]).all() for name in ("score", "map")):
            raise ValueError("scores are NaN or infinite")
        paths, kinds, *others = arrays.values()
        found = Scored(paths.tolist(), kinds.tolist(), *others)
        if radii:
            found = found._replace(radii=Radii(*radii[:2], *map(float, radii[2:])))
        return found
    # On malformed bytes numpy and zipfile raise any kind of exception.
    except Exception as error:
        raise WTFlowError(f"{path}: cannot be read ({error}); run it again") from error
