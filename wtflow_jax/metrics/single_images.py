"""AUPIMO, which weighs images equally, at very low false-positive rates.

At these rates it needs only a few of the highest pixels of good images.
"""

import math
import warnings
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from wtflow_jax.metrics.ranking import CHUNK, METRICS, Metric, Ranked, UndefinedMetric, rank
from wtflow_jax.metrics.regions import Maps, Masks

BOUNDS = 1e-5, 1e-4
"""The false-positive rates between which AUPIMO averages."""


def aupimo(scores: Maps, masks: Masks, bounds: tuple[float, float] = BOUNDS) -> float | None:
    """Return the mean recall of the defective images, averaged over low false-positive rates.

    An image's recall is the detected share of its defective pixels. The false-positive rate is
    shared by all images: the share of the pixels of good images (without any defect) that exceed
    the threshold. Recall is averaged over the logarithm of the rate between ``bounds``,
    0 < lower < upper ≤ 1. Between two rates that the scores can have (ties), recall is linear, as
    in ``aupro``.

    anomalib's AUPIMO converges to this value with more thresholds if the pixels can have both
    bounds as rates; else it takes the rates next to them.

    Returns:
        A share in [0, 1]; None with a warning if undefined: as in ``measure``, or no image is good,
        or the lower bound is less than one pixel of the good images.

    Raises:
        ValueError: as in ``measure``, or the bounds violate 0 < lower < upper ≤ 1.

    Source: Bertoldo et al., AUPIMO: Redefining Visual Anomaly Detection Benchmarks with High Speed
        and Low Tolerance, arXiv 2401.01984.
    """
    ranked = rank(["AUPIMO"], scores, masks)
    return None if ranked is None else aupimo_of(ranked, bounds)


def aupimo_of(ranked: Ranked, bounds: tuple[float, float] = BOUNDS) -> float | None:
    """Return the AUPIMO of ranked pixels."""
    lower, upper = bounds
    if not 0 < lower < upper <= 1:
        raise ValueError(f"expected false-positive rates 0 < lower < upper <= 1, found {bounds}")
    defective = ranked.labels.any((1, 2))
    (good,) = np.nonzero(~defective)
    pixels = len(good) * ranked.scores[0].size
    if pixels * lower < 1:
        reason = "no image is good"
        if pixels:
            reason = f"{pixels} pixels of good images are too few for a rate of {lower:g}"
        # Names the line that calls the public function.
        warnings.warn(f"AUPIMO is undefined: {reason}", UndefinedMetric, stacklevel=3)
        return None
    levels, counts = _highest(ranked.scores, good, math.floor(pixels * upper) + 1)
    # The rate of pixels above each level, and of those above or at it.
    end = np.cumsum(counts[::-1])[::-1] / pixels
    start = np.append(end[1:], 0)
    above, reached = np.zeros((2, len(levels)))
    for image in np.nonzero(defective)[0]:
        found = np.sort(ranked.scores[image][ranked.labels[image]])
        above += 1 - np.searchsorted(found, levels, "right") / len(found)
        reached += 1 - np.searchsorted(found, levels, "left") / len(found)
    # Between two rates recall is a + b · rate; it is integrated over log(rate).
    low, high = np.maximum(start, lower), np.minimum(end, upper)
    some = low < high
    b = (reached - above) / (end - start)
    a = above - b * start
    areas = a[some] * np.log(high[some] / low[some]) + b[some] * (high - low)[some]
    return float(areas.sum() / np.count_nonzero(defective) / math.log(upper / lower))


def _highest(
    scores: Maps, images: Int[np.ndarray, " m"], count: int
) -> tuple[Float[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Return the distinct values among the ``count`` highest pixels, and the pixels of each."""

    def chunks() -> Iterator[Maps]:
        size = max(1, CHUNK // scores[0].size)
        return (scores[images[i : i + size]] for i in range(0, len(images), size))

    kept = scores[:0].ravel()
    for chunk in chunks():
        more = chunk[chunk >= kept[0]] if len(kept) == count else chunk.ravel()
        kept = np.concatenate([kept, more])
        if len(kept) >= count:
            # Now the lowest value is the first.
            kept.partition(len(kept) - count)
            kept = kept[-count:]
    levels, counts = np.unique(kept, return_counts=True)
    # Pixels tied with the lowest value may be missing, so count them all.
    counts[0] = sum(np.count_nonzero(chunk == levels[0]) for chunk in chunks())
    return levels, counts


METRICS.add("pixel_aupimo")(Metric("AUPIMO", "pixel", aupimo_of))
