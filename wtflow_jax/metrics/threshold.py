"""From scores to decisions: a threshold from held-out good images."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import norm

from wtflow_jax.support.errors import WTFlowError

CHANCE = 0.01
"""Probability that any good image counts as far from the others, if scores are log-normal."""


class Threshold(NamedTuple):
    """Scores above ``value`` are defective; ``rate`` is the expected share of false alarms."""

    value: float
    rate: float


def threshold(scores: Float[np.ndarray, " n"], rate: float) -> Threshold:
    """Return the threshold for a rate of false alarms (split conformal prediction).

    If images are exchangeable, the next good image exceeds the k-th lowest of n scores with
    probability at most 1 − k/(n + 1). The lowest k that keeps to ``rate`` is taken. n images can
    certify a rate of 1/(n + 1) at best: for a lower ``rate`` the result is the highest score and
    its rate 1/(n + 1).

    ``scores`` are those of held-out good images, at least one; ``rate`` is the wanted share of
    false alarms among good images, in (0, 1). Several images of one part are not exchangeable with
    others. Then ``scores`` has only the highest score of each part, n counts parts, and the rate is
    that of good parts with an image above the threshold. A single image is above it less often.

    Raises:
        WTFlowError: a score is NaN or infinite; no image would be above such a threshold.
    """
    if not np.isfinite(scores).all():
        raise WTFlowError("a held-out score is NaN or infinite: no threshold can be set")
    n = len(scores)
    # Minus 1e-9, because the product can be slightly above a whole number in float64.
    k = min(n, max(1, math.ceil((1 - rate) * (n + 1) - 1e-9)))
    return Threshold(float(np.sort(scores)[k - 1]), 1 - k / (n + 1))


def highest_rate(found: Threshold, n: int, left_out: int) -> float:
    """Return the rate of a threshold of n scores if ``left_out`` higher ones are good images too.

    The k-th lowest of n is then the k-th lowest of n + ``left_out``.
    """
    return 1 - (1 - found.rate) * (n + 1) / (n + left_out + 1)


def rate_of(scores: Float[np.ndarray, " n"], value: float) -> float:
    """Return the rate that held-out scores certify for a threshold: (1 + exceeding) / (n + 1)."""
    return (1 + int((scores > value).sum())) / (len(scores) + 1)


def far(scores: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Return which held-out scores, all at least 0, are far above the others.

    The limit comes from the median and the median absolute deviation of their logarithms, as up to
    half of them may be outliers (Leys et al., J. Exp. Soc. Psychol. 2013); see ``CHANCE``.
    """
    logs = np.log(np.maximum(scores, np.finfo(np.float32).tiny))
    middle = np.median(logs)
    deviation = np.median(np.abs(logs - middle)) / norm.ppf(0.75)
    return logs > middle + norm.isf(CHANCE / len(scores)) * deviation
