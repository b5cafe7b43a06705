"""The images of a page: an entry each, some with pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wtflow_jax.app import writing
from wtflow_jax.app.report.pictures import (
    DRAWN,
    coloured,
    embedded,
    outlined,
    overlay,
    scaled,
)
from wtflow_jax.data import decode, open_image, white_of
from wtflow_jax.lab.scored import Scored, evenly
from wtflow_jax.support.errors import WTFlowError, shown

TOP = 0.995
"""Quantile of the maps where the colour scale ends, unless the run says otherwise."""
Entry = dict[str, Any]
"""Path, kind, whether it is defective (None if unknown), score, and maybe pictures."""
Layers = dict[str, Image.Image]
"""Pictures of an image: image, map, overlay, mask."""


def of_scored(
    scored: Scored, colours: Sequence[float] | None, most: int
) -> tuple[list[Entry], list[str]]:
    """Return the entries of test images, at most ``most`` with pictures, and notes on gaps."""
    low, high = colours or (scored.maps.min(), np.quantile(scored.maps, TOP))
    scale = float(low), max(float(high), float(low) + 1e-9)

    def layers(i: int, image: Image.Image | None) -> Layers:
        values = scaled(scored.maps[i], scale)
        found = {"map": coloured(values)}
        if image is not None:
            image = image.resize(values.shape[::-1], Image.Resampling.BILINEAR)
            found |= {"image": image, "overlay": overlay(image, values)}
        if scored.masks is not None and scored.known[i]:
            found["mask"] = Image.fromarray(scored.masks[i])
            if image is not None:
                found["overlay"] = outlined(found["overlay"], scored.masks[i], DRAWN)
        return found

    lists = scored.paths, scored.kinds, scored.labels.tolist(), scored.scores.tolist()
    return _gallery(list(zip(*lists, strict=True)), most, layers)


def of_predictions(run: Path, most: int) -> tuple[list[Entry], list[str], float | None]:
    """Return the same for results of ``wtflow predict``, and their threshold."""
    written = writing.parse((run / writing.LINES).read_bytes())
    scored = [row for row in written if row["error"] is None]

    def layers(i: int, image: Image.Image | None) -> Layers:
        found = {} if image is None else {"image": image}
        if scored[i]["map"] is not None:
            drawn = decode(run / scored[i]["map"])
            if drawn.mode == "RGB":
                # Without the strip above it, so that it aligns with the image.
                width, height = (image or drawn).size
                strip = max(0, drawn.height - round(drawn.width * height / width))
                found["overlay"] = drawn.crop((0, strip, drawn.width, drawn.height))
            else:
                found["map"] = coloured(np.asarray(drawn) / 65535)
        return found

    images = [(row["path"], "", None, row["score"]) for row in scored]
    entries, notes = _gallery(images, most, layers)
    if unscored := len(written) - len(scored):
        notes.append(f"Images that could not be scored: {unscored}; see the column error.")
    return entries, notes, scored[0]["threshold"] if scored else None


def _gallery(
    images: Sequence[tuple[str, str, bool | None, float]],
    most: int,
    layers: Callable[[int, Image.Image | None], Layers],
) -> tuple[list[Entry], list[str]]:
    """Return the same for images (path, kind, whether it is defective, score)."""
    ascending = np.argsort([score for *_, score in images], kind="stable")
    chosen = set(ascending[evenly(len(images), most)].tolist())
    entries, failed = [], []
    for i, (path, kind, defective, score) in enumerate(images):
        entry: Entry = {"path": shown(path), "kind": kind, "defective": defective, "score": score}
        if i in chosen:
            image = None
            try:
                image = open_image(Path(path), white_of([Path(path)]))
            except WTFlowError as error:
                failed.append(str(error))
            entry["pictures"] = {name: embedded(one) for name, one in layers(i, image).items()}
        entries.append(entry)
    notes = []
    if failed:
        notes.append(f"Images shown as a map only: {len(failed)}; the first: {failed[0]}")
    if len(chosen) < len(entries):
        notes.append(
            f"{len(chosen)} of {len(entries)} images have pictures, evenly spread over the scores; "
            "all are in the figures (--pictures shows more)."
        )
    return entries, notes
