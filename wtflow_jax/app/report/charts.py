"""Data of a page's charts, as plain values; ``charts.js`` turns them into Vega-Lite."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from wtflow_jax.geometry.radial import Radii
from wtflow_jax.metrics.curves import Line
from wtflow_jax.metrics.regions import LIMIT

Chart = dict[str, Any]
"""Kind and values of a chart, and other fields of its specification."""

GOOD, DEFECTIVE = "good", "defective"
IMAGES, PIXELS = "images", "pixels"
BINS = 40
BAND = (5, 95)
"""Percentiles at the edges of a band."""
HIGHEST = 2
"""Largest end of the scale of radii, as a multiple of √D or of the start of good images."""
DIGITS = 5
CAPTIONS = {
    "roc": "Share of defective found against the false-positive rate, at every threshold; the dot "
    "is the images at the chosen threshold. The nearer to the top left, the better.",
    "precision_recall": "Precision against recall, at every threshold; the dot is the images at "
    "the chosen threshold. The nearer to the top right, the better.",
    "overlap": f"Mean share of a defective region that is found, against the false-positive rate "
    f"of pixels up to {100 * LIMIT:.0f} %; AUPRO is the area below. The higher, the better.",
    "loss": "Loss of the training images; it should fall and level off.",
    "AUROC in %": "AUROC of the test images; it should rise and level off.",
}
"""How to read a chart, by its kind or its title."""


def histogram(parts: Mapping[str, Float[np.ndarray, " _"]], threshold: float | None) -> Chart:
    """Return a histogram of the scores of one or two kinds of images, with a threshold if set."""
    scores = np.concatenate(list(parts.values()))
    low, high = float(scores.min()), float(scores.max())
    # Bins need some width, even for one image or equal scores.
    edges = np.linspace(low, max(high, low + 1e-6), BINS + 1)
    values = [
        {"from": start, "to": end, "count": int(count), "of": name}
        for name, part in parts.items()
        for (start, end), count in zip(
            pairwise(edges.tolist()), np.histogram(part, edges)[0], strict=True
        )
        if count
    ]
    caption = "Images right of the line are called defective; drag the line."
    if len(parts) > 1:
        caption += " The wider the gap between good and defective, the better."
    found = {"kind": "histogram", "values": values, "names": list(parts)}
    return found | {"threshold": threshold, "caption": caption}


def lines(kind: str, series: Mapping[str, Line]) -> Chart:
    """Return curves by name, images or pixels; ``kind`` is an attribute of ``Curves``."""
    values = [
        {"x": x, "y": y, "of": name, "order": i}
        for name, line in series.items()
        for i, (x, y) in enumerate(line.round(DIGITS).tolist())
    ]
    found = {"kind": kind, "values": values, "names": list(series)}
    return found | {"limit": LIMIT, "caption": CAPTIONS[kind]}


def by_epoch(history: Sequence[Mapping[str, Any]], names: Mapping[str, str], title: str) -> Chart:
    """Return entries of a history by epoch; ``names`` has the label of each entry."""
    values = [
        {"epoch": entry["epoch"], "value": entry[name], "of": called}
        for name, called in names.items()
        for entry in history
        if entry.get(name) is not None and math.isfinite(entry[name])
    ]
    found = {"kind": "by_epoch", "values": values, "names": list(names.values())}
    return found | {"title": title, "caption": CAPTIONS[title]}


def radial(radii: Radii, labels: Bool[np.ndarray, " n"], velocity: str) -> Chart:
    """Return ‖x_t‖ over t: mean and band of good and defective images, and √D.

    The scale ends well above √D and the start of good images. An exact field can carry defective
    images much farther, which would flatten all other curves.
    """
    t = np.linspace(radii.t_start, 1, radii.values.shape[1])
    values, counted, defective = [], {}, labels[radii.of]
    for name, of in ((GOOD, ~defective), (DEFECTIVE, defective)):
        if of.any():
            part = radii.values[of]
            points = np.stack([t, part.mean(axis=0), *np.percentile(part, BAND, axis=0)], axis=1)
            values += [
                {"t": at, "mean": mean, "low": low, "high": high, "of": name}
                for at, mean, low, high in points.round(DIGITS).tolist()
            ]
            counted[name] = f"{of.sum()} {name}"
    highest = max(one["high"] for one in values)
    top = HIGHEST * max(radii.root_d, *radii.values[~defective, 0])
    caption = (
        f"Mean ‖x_t‖ of {' and '.join(counted.values())} images under {velocity}, with their "
        f"percentiles {BAND[0]} to {BAND[1]}; dashed: √D = {radii.root_d:.4g}. Look for a gap at "
        "t = 1."
    )
    if highest > top:
        caption += f" Values outside the scale reach {highest / radii.root_d:.3g} √D."
    found = {"kind": "radial", "values": values, "names": list(counted), "caption": caption}
    return found | {"root_d": round(radii.root_d, 2), "top": float(min(1.05 * highest, top))}
