"""What the charts of a page show: plain values, which ``charts.js`` makes Vega-Lite of."""

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
"""Its kind, the values in it, and what else its specification takes."""

GOOD, DEFECTIVE = "good", "defective"
IMAGES, PIXELS = "images", "pixels"
BINS = 40
BAND = (5, 95)
"""Percentiles."""
DIGITS = 5


def histogram(parts: Mapping[str, Float[np.ndarray, " _"]], threshold: float) -> Chart:
    """Return the scores of one or two kinds of images, and a line at the threshold."""
    scores = np.concatenate(list(parts.values()))
    low, high = float(scores.min()), float(scores.max())
    # Of one image, or of equal scores: a bin of some width.
    edges = np.linspace(low, max(high, low + 1e-6), BINS + 1)
    values = [
        {"from": start, "to": end, "count": int(count), "of": name}
        for name, part in parts.items()
        for (start, end), count in zip(
            pairwise(edges.tolist()), np.histogram(part, edges)[0], strict=True
        )
        if count
    ]
    return {"kind": "histogram", "values": values, "names": list(parts), "threshold": threshold}


def lines(kind: str, series: Mapping[str, Line]) -> Chart:
    """Return curves by what they are of; their kind is an attribute of ``Curves``."""
    values = [
        {"x": x, "y": y, "of": name, "order": i}
        for name, line in series.items()
        for i, (x, y) in enumerate(line.round(DIGITS).tolist())
    ]
    return {"kind": kind, "values": values, "limit": LIMIT}


def by_epoch(history: Sequence[Mapping[str, Any]], names: Mapping[str, str], title: str) -> Chart:
    """Return entries of a history over its epochs: by their names, what each is called."""
    values = [
        {"epoch": entry["epoch"], "value": entry[name], "of": called}
        for name, called in names.items()
        for entry in history
        if entry.get(name) is not None and math.isfinite(entry[name])
    ]
    return {"kind": "by_epoch", "values": values, "names": list(names.values()), "title": title}


def radial(radii: Radii, labels: Bool[np.ndarray, " n"]) -> Chart:
    """Return ‖x_t‖ over t: mean and band of good and defective images, and √D."""
    t = np.linspace(radii.t_start, 1, radii.values.shape[1])
    values, defective = [], labels[radii.of]
    for name, of in ((GOOD, ~defective), (DEFECTIVE, defective)):
        if of.any():
            part = radii.values[of]
            points = np.stack([t, part.mean(axis=0), *np.percentile(part, BAND, axis=0)], axis=1)
            values += [
                {"t": at, "mean": mean, "low": low, "high": high, "of": name}
                for at, mean, low, high in points.round(DIGITS).tolist()
            ]
    return {"kind": "radial", "values": values, "root_d": round(radii.root_d, 2)}
