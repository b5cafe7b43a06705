"""The charts of a page, as Vega-Lite specifications: plain values, drawn by the browser."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from wtflow_jax.geometry.radial import Radii
from wtflow_jax.metrics import Curves
from wtflow_jax.metrics.curves import Line
from wtflow_jax.metrics.regions import LIMIT

Chart = dict[str, Any]

GOOD, DEFECTIVE = "good", "defective"
IMAGES, PIXELS = "images", "pixels"
BINS = 40
BAND = (5, 95)
"""Percentiles."""
DIGITS = 5


def _axis(field: str, title: str, **more: Any) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": title} | more


def _series(*names: str) -> dict[str, Any]:
    """Return the colour of one or two series; the page's style says which."""
    return {
        "field": "of",
        "type": "nominal",
        "title": None,
        "scale": {"domain": list(names)},
        "legend": {"orient": "top"},
    }


def _chart(description: str, layers: Sequence[Chart], **more: Any) -> Chart:
    size = {"width": "container", "height": 220}
    return {"description": description, **size, "layer": list(layers), **more}


def _marker(mark: Chart, **at: str) -> Chart:
    """Return a mark at the values of parameters, by axis."""
    return {
        "data": {"values": [{}]},
        "transform": [{"calculate": name, "as": f"at_{axis}"} for axis, name in at.items()],
        "mark": mark,
        "encoding": {axis: _axis(f"at_{axis}", "") for axis in at},
    }


def histogram(parts: Mapping[str, Float[np.ndarray, " _"]], threshold: float) -> Chart:
    """Return the scores of one or two kinds of images, and a line at the threshold."""
    scores = np.concatenate(list(parts.values()))
    low, high = float(scores.min()), float(scores.max())
    # Of one image, or of equal scores: a bin of some width.
    edges = np.linspace(low, max(high, low + 1e-6), BINS + 1)
    values = []
    for name, part in parts.items():
        counts, _ = np.histogram(part, edges)
        values += [
            {"from": float(edges[i]), "to": float(edges[i + 1]), "count": int(n), "of": name}
            for i, n in enumerate(counts)
            if n
        ]
    bars = {
        "data": {"values": values},
        "mark": {"type": "bar", "opacity": 0.65, "binSpacing": 0, "tooltip": True},
        "encoding": {
            "x": _axis("from", "image score", bin={"binned": True}, scale={"zero": False}),
            "x2": {"field": "to"},
            "y": _axis("count", "images", stack=None),
            "color": _series(*parts),
        },
    }
    parameter = [{"name": "threshold", "value": threshold}]
    rule = _marker({"type": "rule", "strokeWidth": 2}, x="threshold")
    return _chart("Histogram of image scores", [bars, rule], params=parameter)


def _lines(series: Mapping[str, Line], encoding: Chart) -> Chart:
    values = [
        {"x": round(float(x), DIGITS), "y": round(float(y), DIGITS), "of": name, "order": i}
        for name, line in series.items()
        for i, (x, y) in enumerate(line)
    ]
    mark = {"type": "line", "tooltip": True, "clip": True}
    order = {"field": "order", "type": "quantitative"}
    return {"data": {"values": values}, "mark": mark, "encoding": encoding | {"order": order}}


def _curves(description: str, lines: Mapping[str, Line], x: Chart, y: Chart, *at: str) -> Chart:
    """Return curves of images and pixels, and a spot at two parameters."""
    spot = {"type": "point", "filled": True, "size": 90, "opacity": 1}
    layers = [
        _lines(lines, {"x": x, "y": y, "color": _series(IMAGES, PIXELS)}),
        _marker(spot, **dict(zip("xy", at, strict=True))),
    ]
    return _chart(description, layers, params=[{"name": name, "value": 0} for name in at])


def roc(curves: Mapping[str, Curves]) -> Chart:
    """Return the ROC curves of images and pixels."""
    lines = {name: found.roc for name, found in curves.items()}
    x, y = _axis("x", "false-positive rate"), _axis("y", "share of defective found")
    return _curves("ROC curves", lines, x, y, "false_alarms", "detected")


def precision_recall(curves: Mapping[str, Curves]) -> Chart:
    """Return the precision–recall curves of images and pixels."""
    lines = {name: found.precision_recall for name, found in curves.items()}
    share = {"domain": [0, 1]}
    x = _axis("x", "share of defective found (recall)", scale=share)
    y = _axis("y", "precision", scale=share)
    return _curves("Precision-recall curves", lines, x, y, "detected", "precision")


def overlap(line: Line, limit: float = LIMIT) -> Chart:
    """Return the per-region overlap up to the false-positive rate where AUPRO ends."""
    encoding = {
        "x": _axis("x", "false-positive rate of pixels", scale={"domain": [0, limit]}),
        "y": _axis("y", "mean overlap of defects", scale={"domain": [0, 1]}),
    }
    return _chart("Per-region overlap curve", [_lines({"regions": line}, encoding)])


def by_epoch(history: Sequence[Mapping[str, Any]], names: Mapping[str, str], title: str) -> Chart:
    """Return entries of a history over its epochs.

    Args:
        history: of a model, an entry an epoch.
        names: of entries, and what each is called.
        title: of the vertical axis.
    """
    values = [
        {"epoch": entry["epoch"], "value": entry[name], "of": called}
        for name, called in names.items()
        for entry in history
        if entry.get(name) is not None and math.isfinite(entry[name])
    ]
    encoding = {
        "x": _axis("epoch", "epoch", axis={"tickMinStep": 1}),
        "y": _axis("value", title, scale={"zero": False}),
    }
    if len(names) > 1:
        encoding["color"] = _series(*names.values())
    mark = {"type": "line", "point": {"size": 14}, "tooltip": True}
    return _chart(
        f"{title} by epoch", [{"mark": mark, "encoding": encoding}], data={"values": values}
    )


def radial(radii: Radii, labels: Bool[np.ndarray, " n"]) -> Chart:
    """Return ‖x_t‖ over t: mean and band of good and defective images, and √D."""
    t = np.linspace(radii.t_start, 1, radii.values.shape[1])
    values, defective = [], labels[radii.of]
    for name, of in ((GOOD, ~defective), (DEFECTIVE, defective)):
        if of.any():
            part = radii.values[of]
            points = np.stack([t, part.mean(axis=0), *np.percentile(part, BAND, axis=0)], axis=1)
            names = ("t", "mean", "low", "high")
            values += [
                dict(zip(names, point, strict=True), of=name)
                for point in points.round(DIGITS).tolist()
            ]
    x, y = _axis("t", "t"), _axis("mean", "‖x_t‖")
    colour = _series(GOOD, DEFECTIVE)
    band = {"x": x, "y": y | {"field": "low"}, "y2": {"field": "high"}, "color": colour}
    annulus = {
        "data": {"values": [{"root_d": round(radii.root_d, 2)}]},
        "mark": {"type": "rule", "strokeDash": [4, 4], "tooltip": {"content": "data"}},
        "encoding": {"y": _axis("root_d", "‖x_t‖")},
    }
    layers = [
        {"mark": {"type": "area", "opacity": 0.2}, "encoding": band},
        {"mark": {"type": "line"}, "encoding": {"x": x, "y": y, "color": colour}},
        annulus,
    ]
    return _chart("Radius on the way from data to noise", layers, data={"values": values})
