"""AUROC, average precision and F1-max, from ranks; and the table of all metrics.

Curves turn only at scores of defective pixels. So good pixels are sorted one chunk of images at a
time, only to count how many lie below each of these scores. There is no grid of thresholds and no
sort of all pixels. The tests compare with scikit-learn, which needs many times the time and memory.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from wtflow_jax.support.parts import Parts

CHUNK = 2**22
"""Pixels per chunk, or the number of thresholds if that is larger."""

Level = Literal["image", "pixel"]
Scores: TypeAlias = Float[np.ndarray, "*shape"]
"""Scores of images (n,) or of pixels (n, h, w); higher means more anomalous."""
Labels: TypeAlias = Bool[np.ndarray, "*shape"]
"""Labels of images or masks of pixels, in the same shape; True means defective."""


class UndefinedMetric(UserWarning):
    """A metric is undefined on these inputs and None is returned; the message says why."""


class Regions(NamedTuple):
    """The defects of masks: the defect of each pixel in masks[masks], and areas in pixels."""

    labels: Int[np.ndarray, " pixels"]
    areas: Int[np.ndarray, " regions"]


class Ranked(NamedTuple):
    """Scores, and the ranks of the defective among the good: the input of all metrics.

    Attributes:
        scores: all scores.
        labels: whether each is defective.
        found: scores[labels], (m,).
        thresholds: the distinct values of ``found``, ascending, (d,).
        defective: how many of ``found`` are at each threshold, (d,).
        below: good scores below each, (d,).
        not_above: good scores below or at each, (d,).
        good: the number of good scores.
        regions: regions of masks, if they were given.
    """

    scores: Scores
    labels: Labels
    found: Float[np.ndarray, " m"]
    thresholds: Float[np.ndarray, " d"]
    defective: Int[np.ndarray, " d"]
    below: Int[np.ndarray, " d"]
    not_above: Int[np.ndarray, " d"]
    good: int
    regions: Regions | None


class Metric(NamedTuple):
    """An entry of ``METRICS``: its printed title, its level and its function.

    ``function`` gets ranked scores with both classes and no NaN. It returns a share in [0, 1], or
    warns ``UndefinedMetric`` and returns None.
    """

    title: str
    level: Level
    function: Callable[[Ranked], float | None]


METRICS: Parts[Metric] = Parts("metric", "wtflow_jax.metrics")
"""Metrics by their names in results."""


def measure(
    level: Level, scores: Scores, labels: Labels | None, regions: Regions | None = None
) -> dict[str, float | None]:
    """Return all metrics of a level, from one pass over the scores.

    ``labels`` is None if unknown. ``regions`` may be ``label_regions(labels)`` of masks, to save
    its computation.

    Returns:
        Shares in [0, 1] by name; None for undefined metrics.

    Warns:
        UndefinedMetric: a score is NaN, only one of the two classes is present, or a metric is
            undefined for another reason.

    Raises:
        ValueError: the shapes differ, labels are not bool, or the regions have another number of
            defective pixels.
    """
    chosen = {name: metric for name, metric in METRICS.items() if metric.level == level}
    titles = [metric.title for metric in chosen.values()]
    ranked = None if labels is None else rank(titles, scores, labels, regions=regions)
    if ranked is None:
        return dict.fromkeys(chosen)
    return {name: metric.function(ranked) for name, metric in chosen.items()}


def auroc(scores: Scores, labels: Labels) -> float | None:
    """Return the share of (defective, good) pairs in the correct order, ties counted half.

    It is the area under the ROC curve (Mann–Whitney); None with a warning as in ``measure``.
    """
    ranked = rank(["AUROC"], scores, labels)
    return None if ranked is None else auroc_of(ranked)


def rank(
    names: Sequence[str],
    scores: Scores,
    labels: Labels,
    found: Float[np.ndarray, " m"] | None = None,
    regions: Regions | None = None,
) -> Ranked | None:
    """Rank the defective scores, or those in ``found``, among the good; errors as in ``measure``.

    ``names`` are titles of metrics, capitalised to begin the sentence of a warning.
    """
    # Masks of 0 and 255 would act as indices.
    if labels.dtype != bool or labels.shape != scores.shape:
        raise ValueError(
            f"expected labels or masks of bool in the scores' shape {scores.shape}, "
            f"found {labels.dtype} in {labels.shape}"
        )
    found = scores[labels] if found is None else found
    good, reason = labels.size - int(np.count_nonzero(labels)), None
    if not (good and len(found)):
        reason = f"{good} good and {len(found)} defective"
    elif np.isnan(scores.max()):
        reason = "a score is NaN"
    if reason is not None:
        for name in names:
            # Names the line that calls the public function.
            warnings.warn(f"{name} is undefined: {reason}", UndefinedMetric, stacklevel=3)
        return None
    thresholds, defective = np.unique(found, return_counts=True)
    below, not_above = np.zeros((2, len(thresholds)), np.int64)
    # Each chunk costs a search of all thresholds: many thresholds take fewer and larger chunks.
    images = max(1, max(CHUNK, len(thresholds)) * len(scores) // scores.size)
    for first in range(0, len(scores), images):
        chunk = slice(first, first + images)
        ascending = scores[chunk][~labels[chunk]]
        ascending.sort()
        below += np.searchsorted(ascending, thresholds, side="left")
        not_above += np.searchsorted(ascending, thresholds, side="right")
    return Ranked(scores, labels, found, thresholds, defective, below, not_above, good, regions)


def auroc_of(ranked: Ranked) -> float:
    """Return the AUROC."""
    pairs = 2 * ranked.good * int(ranked.defective.sum())
    return int(ranked.defective @ (ranked.below + ranked.not_above)) / pairs


def average_precision_of(ranked: Ranked) -> float:
    """Return the mean precision over thresholds, each weighted by the recall that it adds.

    There is no interpolation, as in scikit-learn.
    """
    detected = np.cumsum(ranked.defective[::-1])[::-1]
    precision = detected / (detected + ranked.good - ranked.below)
    return float(ranked.defective @ precision) / int(detected[0])


def f1_max_of(ranked: Ranked) -> float:
    """Return the largest F1 score of all thresholds."""
    detected = np.cumsum(ranked.defective[::-1])[::-1]
    return float((2 * detected / (detected + ranked.good - ranked.below + detected[0])).max())


for _level in ("image", "pixel"):
    METRICS.add(f"{_level}_auroc")(Metric(f"{_level} AUROC", _level, auroc_of))
    METRICS.add(f"{_level}_ap")(Metric(f"{_level} AP", _level, average_precision_of))
    METRICS.add(f"{_level}_f1")(Metric(f"{_level} F1-max", _level, f1_max_of))
