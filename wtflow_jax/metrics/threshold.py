"""From scores to decisions: a threshold of good images that were not trained on."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import norm

from wtflow_jax.support.errors import WTFlowError

CHANCE = 0.01
"""That any of good images is taken for far from the others, were their scores log-normal."""


class Threshold(NamedTuple):
    """Scores above ``value`` are defective; a share ``rate`` of good images is expected to be."""

    value: float
    rate: float


def threshold(scores: Float[np.ndarray, " n"], rate: float) -> Threshold:
    """Return the threshold for a rate of false alarms (split conformal prediction).

    The k-th lowest of n scores is exceeded by the next good image with probability at most
    1 − k/(n + 1), where images are exchangeable; the lowest such k is taken. n images can promise
    1/(n + 1) at best: where less is asked for, the highest score is taken and its rate told.

    ``scores`` are those of good images that the model has not seen, at least one; ``rate`` is the
    wanted share of false alarms among good images, in (0, 1). Images of one part are not
    exchangeable with others: of these ``scores`` has the highest of each part, n counts parts, and
    the rate is that of good parts with an image above. A single image is above less often.

    Raises:
        WTFlowError: a score is NaN or infinite, and no image would be above such a threshold.
    """
    if not np.isfinite(scores).all():
        raise WTFlowError("a held-out score is NaN or infinite: no threshold can be set by it")
    n = len(scores)
    # A hair less: 0.95 times 20 is 19, in float64 a bit more.
    k = min(n, max(1, math.ceil((1 - rate) * (n + 1) - 1e-9)))
    return Threshold(float(np.sort(scores)[k - 1]), 1 - k / (n + 1))


def highest_rate(found: Threshold, n: int, left_out: int) -> float:
    """Return the rate of a threshold of n scores if ``left_out`` higher ones are of good images.

    The k-th lowest of n is then the k-th lowest of them all.
    """
    return 1 - (1 - found.rate) * (n + 1) / (n + left_out + 1)


def rate_of(scores: Float[np.ndarray, " n"], value: float) -> float:
    """Return the rate that held-out scores certify for a threshold: (1 + those above) / (n + 1)."""
    return (1 + int((scores > value).sum())) / (len(scores) + 1)


def far(scores: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Return which scores are far above the others, of held-out images from 0 on.

    Median and median absolute deviation of their logarithms stand for all, as up to half of them
    may be strange (Leys et al., J. Exp. Soc. Psychol. 2013); see ``CHANCE``.
    """
    logs = np.log(np.maximum(scores, np.finfo(np.float32).tiny))
    middle = np.median(logs)
    deviation = np.median(np.abs(logs - middle)) / norm.ppf(0.75)
    return logs > middle + norm.isf(CHANCE / len(scores)) * deviation
