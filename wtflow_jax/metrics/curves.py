"""Curves over all thresholds, thinned for drawing; the areas under them are exact elsewhere."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from wtflow_jax.metrics.ranking import Regions, rank
from wtflow_jax.metrics.regions import rises

POINTS = 200

Line = Float[np.ndarray, "k 2"]
"""Corners (x, y) of a line, its first point first."""


class Curves(NamedTuple):
    """Lines from the highest threshold to the lowest; what is tied is straight between its ends.

    Attributes:
        roc: share of defective scores found, over the share of good ones called defective.
        precision_recall: share of defective ones among those found, over the share found.
        overlap: mean share found of each region, over the same as ``roc``; None without regions.
    """

    roc: Line
    precision_recall: Line
    overlap: Line | None


def curves(
    scores: Float[np.ndarray, "*shape"],
    labels: Bool[np.ndarray, "*shape"],
    regions: Regions | None = None,
    points: int = POINTS,
) -> Curves | None:
    """Return ROC, precision–recall and per-region overlap in one.

    Args:
        scores: of ``Ranked``.
        labels: of ``Ranked``.
        regions: ``label_regions`` of labels that are masks (n, h, w).
        points: about so many thresholds are kept, evenly spread over what they find.

    Returns:
        The curves; None, with a warning as ``measure``, where they are undefined.

    Raises:
        ValueError: the shapes differ, or labels are not bool.
    """
    ranked = rank(["Curves"], scores, labels, regions=regions)
    if ranked is None:
        return None
    detected = np.cumsum(ranked.defective[::-1])
    recall = detected / detected[-1]
    # Good scores above each threshold, and those above or at it.
    above, false = (ranked.good - ranked.not_above)[::-1], (ranked.good - ranked.below)[::-1]
    chosen, overlap = _spread(recall, points), None
    if regions is not None:
        overlap = np.cumsum(rises(ranked)[::-1])
        chosen = np.union1d(chosen, _spread(overlap, points))
    precision = (detected / (detected + false))[chosen]
    x = above[chosen] / ranked.good, false[chosen] / ranked.good

    def whole(cumulative: Float[np.ndarray, " d"]) -> Line:
        return np.concatenate([[[0, 0]], _line(x, _steps(cumulative, chosen)), [[1, 1]]])

    return Curves(
        roc=whole(recall),
        precision_recall=_line(_steps(recall, chosen), (precision, precision)),
        overlap=None if overlap is None else whole(overlap),
    )


# Values on the two sides of some thresholds.
Ends = tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]


def _steps(cumulative: Float[np.ndarray, " d"], chosen: Int[np.ndarray, " m"]) -> Ends:
    """Return what is found above some thresholds, and above or at them."""
    return np.r_[0.0, cumulative[:-1]][chosen], cumulative[chosen]


def _line(x: Ends, y: Ends) -> Line:
    """Return the corners of a line that passes both sides of each threshold."""
    corners = [np.stack(pair, axis=1) for pair in zip(x, y, strict=True)]
    return np.stack(corners, axis=1).reshape(-1, 2)


def _spread(found: Float[np.ndarray, " d"], points: int) -> Int[np.ndarray, " m"]:
    """Return indices of values that are about evenly spaced, the first and the last among them."""
    if len(found) <= points:
        return np.arange(len(found))
    wanted = np.linspace(found[0], found[-1], max(2, points))
    return np.unique(np.searchsorted(found, wanted).clip(max=len(found) - 1))
