"""Curves over all thresholds, thinned for drawing; the areas under them are exact elsewhere."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from wtflow_jax.metrics.ranking import check, rank
from wtflow_jax.metrics.regions import Regions, rises

POINTS = 200


class Curves(NamedTuple):
    """What each of some thresholds finds; the highest threshold comes first.

    Attributes:
        false_positives: share of the good scores that are no less (m,).
        recall: share of the defective scores that are no less (m,).
        precision: share of defective ones among those (m,).
        overlap: mean share found of each region (m,); None without regions.
    """

    false_positives: Float[np.ndarray, " m"]
    recall: Float[np.ndarray, " m"]
    precision: Float[np.ndarray, " m"]
    overlap: Float[np.ndarray, " m"] | None


def curves(
    scores: Float[np.ndarray, "*shape"],
    labels: Bool[np.ndarray, "*shape"],
    regions: Regions | None = None,
    points: int = POINTS,
) -> Curves | None:
    """Return ROC, precision–recall and per-region overlap in one.

    Args:
        scores: any shape, float; higher means more anomalous.
        labels: the same shape, bool; True means defective.
        regions: ``label_regions`` of labels that are masks (n, h, w).
        points: at most so many thresholds, evenly spread over the recall.

    Returns:
        The curves; None where they are undefined.

    Warns:
        UndefinedMetric: a score is NaN, or only one of the two classes is present.

    Raises:
        ValueError: the shapes differ, or labels are not bool.
    """
    check(scores, labels)
    found = scores[labels]
    ranks = rank(("Curves",), scores, labels, found)
    if ranks is None:
        return None
    recall = np.cumsum(ranks.defective[::-1])
    false = (ranks.good - ranks.below)[::-1]
    chosen = _spread(recall, points)
    overlap = None
    if regions is not None:
        overlap = np.cumsum(rises(ranks, found, regions)[::-1])[chosen]
    return Curves(
        false_positives=false[chosen] / ranks.good,
        recall=recall[chosen] / recall[-1],
        precision=recall[chosen] / (recall[chosen] + false[chosen]),
        overlap=overlap,
    )


def _spread(recall: np.ndarray, points: int) -> np.ndarray:
    """Return indices whose recall is about evenly spaced, the first and the last among them."""
    wanted = np.linspace(recall[0], recall[-1], min(points, len(recall)))
    return np.unique(np.searchsorted(recall, wanted))
