"""Curves over all thresholds, thinned for drawing; other modules compute their exact areas."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from wtflow_jax.metrics.ranking import Labels, Regions, Scores, rank
from wtflow_jax.metrics.regions import rises

Line = Float[np.ndarray, "k 2"]
"""Corners (x, y) of a line, in order."""
Sides = tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]
"""Values on the two sides of each threshold."""


class Curves(NamedTuple):
    """Lines from the highest threshold to the lowest; tied scores give one straight segment.

    Attributes:
        roc: recall (the detected share of defective scores) over the false-positive rate.
        precision_recall: the share of defective scores among those detected, over recall.
        overlap: mean detected share of a region over the false-positive rate; None without regions.
    """

    roc: Line
    precision_recall: Line
    overlap: Line | None


def curves(
    scores: Scores, labels: Labels, regions: Regions | None = None, points: int = 200
) -> Curves | None:
    """Return ROC, precision–recall and per-region overlap; None and errors as in ``measure``.

    ``regions`` is ``label_regions(labels)`` if labels are masks (n, h, w). About ``points``
    thresholds are kept, evenly spread over recall and over overlap.
    """
    ranked = rank(["Curves"], scores, labels, regions=regions)
    if ranked is None:
        return None
    detected = np.cumsum(ranked.defective[::-1])
    recall, overlap = detected / detected[-1], None
    chosen = _spread(recall, points)
    if regions is not None:
        overlap = np.cumsum(rises(ranked)[::-1])
        chosen = np.union1d(chosen, _spread(overlap, points))
    # Good scores above each threshold, and good scores above or at it.
    above, false = (ranked.good - ranked.not_above)[::-1], (ranked.good - ranked.below)[::-1]
    precision = detected / (detected + false)

    def line(x: Sides, y: Sides) -> Line:
        return np.array([x, y])[..., chosen].T.reshape(-1, 2)

    def steps(cumulative: Float[np.ndarray, " d"]) -> Sides:
        return np.r_[0.0, cumulative[:-1]], cumulative

    def whole(cumulative: Float[np.ndarray, " d"]) -> Line:
        rates = above / ranked.good, false / ranked.good
        return np.concatenate([[[0, 0]], line(rates, steps(cumulative)), [[1, 1]]])

    return Curves(
        roc=whole(recall),
        precision_recall=line(steps(recall), (precision, precision)),
        overlap=None if overlap is None else whole(overlap),
    )


def _spread(found: Float[np.ndarray, " d"], points: int) -> Int[np.ndarray, " m"]:
    """Return indices of about evenly spaced values, including the first and the last."""
    if len(found) <= points:
        return np.arange(len(found))
    wanted = np.linspace(found[0], found[-1], max(2, points))
    return np.unique(np.searchsorted(found, wanted).clip(max=len(found) - 1))
