"""Rank metrics, exact and by sorting, on the host.

scikit-learn is the reference in the tests; on a whole test set's pixels it needs far more time and
memory.
"""

import numpy as np
from jaxtyping import Bool, Float


def auroc(scores: Float[np.ndarray, "*shape"], labels: Bool[np.ndarray, "*shape"]) -> float:
    """Return the area under the ROC curve, ties counted half.

    It is the share of (defective, good) pairs that are ranked rightly (Mann–Whitney).

    Args:
        scores: any shape, float; higher means more anomalous.
        labels: the same shape, bool; True means defective.

    Returns:
        The area in [0, 1], exact up to float64.

    Raises:
        ValueError: a score is NaN, or only one of the two classes is present.
    """
    if np.isnan(scores).any():
        raise ValueError("AUROC is undefined: a score is NaN")
    good, bad = np.sort(scores[~labels]), np.sort(scores[labels])
    if not (len(good) and len(bad)):
        raise ValueError(f"AUROC is undefined: {len(good)} good and {len(bad)} defective")
    below = np.searchsorted(good, bad, side="left").sum(dtype=np.int64)
    not_above = np.searchsorted(good, bad, side="right").sum(dtype=np.int64)
    return float((int(below) + int(not_above)) / (2 * len(good) * len(bad)))
