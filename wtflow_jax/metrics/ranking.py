"""AUROC, average precision and F1 max, from ranks.

Every curve turns only at scores of defective pixels. So the good ones are sorted a chunk of images
at a time, only to count those below each of them: no grid of thresholds, no sort of everything.
scikit-learn, which needs many times the time and memory on pixels, is the reference in the tests.
"""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

# Pixels a chunk, where the defective ones are fewer.
CHUNK = 2**22


class UndefinedMetric(UserWarning):
    """A metric has no value on these inputs, and None is returned; the message says why."""


class F1Max(NamedTuple):
    """The largest F1 score over all thresholds.

    Attributes:
        value: the score.
        threshold: the lowest that reaches it; defective is what scores at least this.
    """

    value: float
    threshold: float


class Ranks(NamedTuple):
    """Where the defective scores stand among the good ones.

    Attributes:
        thresholds: the distinct defective scores, ascending.
        defective: defective scores at each.
        below: good scores below each.
        not_above: good scores below or at each.
        good: all good scores.
    """

    thresholds: Float[np.ndarray, " d"]
    defective: Int[np.ndarray, " d"]
    below: Int[np.ndarray, " d"]
    not_above: Int[np.ndarray, " d"]
    good: int


def auroc(scores: Float[np.ndarray, "*shape"], labels: Bool[np.ndarray, "*shape"]) -> float | None:
    """Return the area under the ROC curve, ties counted half.

    It is the share of (defective, good) pairs that are ranked rightly (Mann–Whitney).

    Args:
        scores: any shape, float; higher means more anomalous.
        labels: the same shape, bool; True means defective.

    Returns:
        The area in [0, 1], exact up to float64; None where it is undefined.

    Warns:
        UndefinedMetric: a score is NaN, or only one of the two classes is present.

    Raises:
        ValueError: the shapes differ, or labels are not bool.
    """
    check(scores, labels)
    ranks = rank(("AUROC",), scores, labels, scores[labels])
    return None if ranks is None else auroc_of(ranks)


def average_precision(
    scores: Float[np.ndarray, "*shape"], labels: Bool[np.ndarray, "*shape"]
) -> float | None:
    """Return the average precision: that at each threshold, weighted by the recall it adds.

    Steps, no interpolation, as in scikit-learn.

    Args:
        scores: any shape, float; higher means more anomalous.
        labels: the same shape, bool; True means defective.

    Returns:
        The average in (0, 1]; None where it is undefined.

    Warns:
        UndefinedMetric: a score is NaN, or only one of the two classes is present.

    Raises:
        ValueError: the shapes differ, or labels are not bool.
    """
    check(scores, labels)
    ranks = rank(("Average precision",), scores, labels, scores[labels])
    return None if ranks is None else average_precision_of(ranks)


def f1_max(scores: Float[np.ndarray, "*shape"], labels: Bool[np.ndarray, "*shape"]) -> F1Max | None:
    """Return the largest F1 score over all thresholds, and its threshold.

    Args:
        scores: any shape, float; higher means more anomalous.
        labels: the same shape, bool; True means defective.

    Returns:
        The score in (0, 1] and the threshold; None where it is undefined.

    Warns:
        UndefinedMetric: a score is NaN, or only one of the two classes is present.

    Raises:
        ValueError: the shapes differ, or labels are not bool.
    """
    check(scores, labels)
    ranks = rank(("F1 max",), scores, labels, scores[labels])
    return None if ranks is None else f1_max_of(ranks)


def check(scores: np.ndarray, labels: np.ndarray, limit: float = 1.0) -> None:
    """Refuse inputs that would give a wrong value without a word."""
    # Masks of 0 and 255 would index.
    if labels.dtype != bool or labels.shape != scores.shape:
        raise ValueError(
            f"expected labels or masks of bool in the scores' shape {scores.shape}, "
            f"found {labels.dtype} in {labels.shape}"
        )
    if not 0 < limit <= 1:
        raise ValueError(f"expected a false-positive rate in (0, 1] as limit, found {limit}")


def rank(
    names: tuple[str, ...],
    scores: Float[np.ndarray, "*shape"],
    labels: Bool[np.ndarray, "*shape"],
    found: Float[np.ndarray, " m"],
) -> Ranks | None:
    """Rank the defective scores found among the good ones.

    Args:
        names: metrics to warn of, as a sentence begins with them.
        scores: any shape.
        labels: the same shape; False means good.
        found: scores of defective pixels, in any order.

    Returns:
        The ranks; None, with a warning for each name, where these metrics are undefined.
    """
    good = labels.size - int(np.count_nonzero(labels))
    if not (good and len(found)):
        return _warn(names, f"{good} good and {len(found)} defective")
    thresholds, defective = np.unique(found, return_counts=True)
    below, not_above = (np.zeros(len(thresholds), np.int64) for _ in range(2))
    # Each chunk costs a search of all thresholds: where these are many, fewer and larger chunks.
    images = max(1, max(CHUNK, len(thresholds)) * len(scores) // scores.size)
    for first in range(0, len(scores), images):
        chunk = slice(first, first + images)
        ascending = scores[chunk][~labels[chunk]]
        ascending.sort()
        # NaN comes last.
        if np.isnan(ascending[-1:]).any() or np.isnan(thresholds[-1]):
            return _warn(names, "a score is NaN")
        below += np.searchsorted(ascending, thresholds, side="left")
        not_above += np.searchsorted(ascending, thresholds, side="right")
    return Ranks(thresholds, defective, below, not_above, good)


def _warn(names: tuple[str, ...], reason: str) -> None:
    for name in names:
        # The caller of the public function.
        warnings.warn(f"{name} is undefined: {reason}", UndefinedMetric, stacklevel=4)


def auroc_of(ranks: Ranks) -> float:
    """Return the AUROC."""
    pairs = 2 * ranks.good * int(ranks.defective.sum())
    return int(ranks.defective @ (ranks.below + ranks.not_above)) / pairs


def average_precision_of(ranks: Ranks) -> float:
    """Return the average precision."""
    detected = np.cumsum(ranks.defective[::-1])[::-1]
    precision = detected / (detected + ranks.good - ranks.below)
    return float(ranks.defective @ precision) / int(detected[0])


def f1_max_of(ranks: Ranks) -> F1Max:
    """Return the largest F1 score and its threshold."""
    detected = np.cumsum(ranks.defective[::-1])[::-1]
    scores = 2 * detected / (detected + ranks.good - ranks.below + detected[0])
    best = int(np.argmax(scores))
    return F1Max(float(scores[best]), float(ranks.thresholds[best]))
