"""The images of a page: an entry each, some with pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from wtflow_jax.app.report import pictures, rows
from wtflow_jax.data import decode, open_image
from wtflow_jax.metrics import figures
from wtflow_jax.metrics.figures import Tested
from wtflow_jax.support import untrusted
from wtflow_jax.support.errors import WTFlowError, shown

TOP = 0.995
"""Quantile of the maps where the colour scale ends, unless the run says otherwise."""

# Path, kind, whether it is defective (None where nobody knows), score, and maybe pictures.
Entry = dict[str, Any]


def _chosen(scores: Float[np.ndarray, " n"], most: int) -> set[int]:
    """Return which images have pictures: evenly spread over the scores."""
    ascending = np.argsort(scores, kind="stable")
    return set(ascending[figures.evenly(len(scores), most)].tolist())


def _notes(failed: list[str], shown: int, count: int) -> list[str]:
    notes = []
    if failed:
        notes.append(f"Only the map is shown of images: {len(failed)}; the first: {failed[0]}")
    if shown < count:
        notes.append(
            f"{shown} of {count} images have pictures, evenly spread over the scores; all are in "
            "the figures (--pictures shows more)."
        )
    return notes


def of_tested(
    tested: Tested, colours: Sequence[float] | None, most: int
) -> tuple[list[Entry], list[str]]:
    """Return the entries of scored test images, and sentences on what is not there.

    Args:
        tested: the images.
        colours: scores of a pixel at the ends of the colour scale; None takes the lowest, and the
            quantile ``TOP``.
        most: images with pictures.
    """
    chosen = _chosen(tested.scores, most)
    low, high = colours or (tested.maps.min(), np.quantile(tested.maps, TOP))
    scale = float(low), max(float(high), float(low) + 1e-9)
    entries, failed = [], []
    for i, path in enumerate(tested.paths):
        entry: Entry = {
            "path": shown(path),
            "kind": tested.kinds[i],
            "defective": bool(tested.labels[i]),
            "score": float(tested.scores[i]),
        }
        if i in chosen:
            values = pictures.scaled(tested.maps[i], scale)
            layers = {"map": pictures.embedded(pictures.coloured(values))}
            try:
                size = values.shape[::-1]
                image = open_image(Path(path)).resize(size, Image.Resampling.BILINEAR)
                pixels = np.asarray(image)
                layers["image"] = pictures.embedded(pixels)
                layers["overlay"] = pictures.embedded(pictures.overlay(pixels, values))
            except WTFlowError as error:
                failed.append(str(error))
            if tested.masks is not None and tested.known[i]:
                layers["mask"] = pictures.embedded(tested.masks[i])
            entry["pictures"] = layers
        entries.append(entry)
    return entries, _notes(failed, len(chosen), len(entries))


def of_predictions(run: Path, most: int) -> tuple[list[Entry], list[str], float | None]:
    """Return the entries of what ``wtflow predict`` has written, sentences, and its threshold.

    Args:
        run: its directory.
        most: images with pictures.

    Raises:
        WTFlowError: the rows cannot be read.
    """
    path = run / rows.PREDICTIONS
    try:
        found = rows.parse(path.read_bytes())
        scored = [row for row in found if row["error"] is None]
        scores = np.array([row["score"] for row in scored], float)
        chosen = _chosen(scores, most) if scored else set()
        entries, failed = [], []
        for i, row in enumerate(scored):
            entry: Entry = {"path": shown(row["path"]), "kind": "", "defective": None}
            entry["score"] = scores[i]
            if i in chosen:
                entry["pictures"] = layers = {}
                try:
                    layers["image"] = pictures.embedded(np.asarray(open_image(Path(row["path"]))))
                except WTFlowError as error:
                    failed.append(str(error))
                if row["map"] is not None:
                    layer, picture = _drawn(untrusted.inside(run, row["map"]))
                    layers[layer] = pictures.embedded(picture)
            entries.append(entry)
    except (OSError, ValueError, WTFlowError) as error:
        raise WTFlowError(f"{path}: cannot be read ({error}); predict again") from error
    notes = _notes(failed, len(chosen), len(entries))
    if unscored := len(found) - len(scored):
        notes.append(f"Images that could not be scored: {unscored}; see the column error.")
    return entries, notes, scored[0]["threshold"] if scored else None


def _drawn(path: Path) -> tuple[str, np.ndarray]:
    """Return a map that was drawn: which layer it is, and its pixels."""
    with decode(path) as image:
        pixels = np.asarray(image)
    if pixels.ndim == 3:
        return "overlay", pixels
    if pixels.dtype != np.uint16:
        raise ValueError(f"{path}: is no map of wtflow predict")
    return "map", pictures.coloured(pixels / 65535)
