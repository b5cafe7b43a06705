"""AUPRO and sPRO, which weigh regions equally."""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from wtflow_jax.metrics.ranking import METRICS, Metric, Ranked, Regions, rank

LIMIT = 0.3
"""The false-positive rate where AUPRO ends."""
Maps: TypeAlias = Float[np.ndarray, "n h w"]
"""Scores of pixels; higher means more anomalous."""
Masks: TypeAlias = Bool[np.ndarray, "n h w"]
"""True means defective."""


class Region(NamedTuple):
    """A defect as MVTec LOCO AD annotates it: found once ``saturation`` pixels of it are found.

    ``image`` is the index in the scores. The saturation is in pixels; it may be fractional, and
    below or above the region's area.
    """

    image: int
    mask: Bool[np.ndarray, "h w"]
    saturation: float


def label_regions(masks: Masks) -> Regions:
    """Label the defects of each mask, its 8-connected components, for AUPRO."""
    labels, before = [np.zeros(0, np.int32)], 0
    for mask in masks:
        if mask.any():
            components = np.empty(mask.shape, np.int32)
            ndimage.label(mask, np.ones((3, 3)), output=components)
            labels.append(components[mask] + np.int32(before - 1))
            before = int(labels[-1].max()) + 1
    whole = np.concatenate(labels)
    return Regions(whole, np.bincount(whole))


def aupro(scores: Maps, masks: Masks, limit: float = LIMIT) -> float | None:
    """Return the normalised area under the per-region overlap curve, up to a false-positive rate.

    The curve is the mean over all defects (8-connected components) of their detected share, against
    the false-positive rate over the good pixels of all images; linear between its points. The area
    ends at the rate ``limit``, in (0, 1].

    Returns:
        The area divided by the limit, in [0, 1]; None with a warning if undefined.

    Raises:
        ValueError: as in ``measure``, or the limit is outside (0, 1].

    Source: Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021.
    """
    ranked = rank(["AUPRO"], scores, masks)
    return None if ranked is None else aupro_of(ranked, limit)


def spro(scores: Maps, regions: Sequence[Region], limit: float = 0.05) -> float | None:
    """Return the normalised area under the saturated per-region overlap curve.

    A region's overlap is min(detected pixels / saturation, 1); the curve is its mean over the
    regions, which may overlap, against the false-positive rate over the pixels in no region.
    Arguments, errors and return value are as in ``aupro``.

    Raises:
        ValueError: a region is malformed.

    Source: Bergmann et al., Beyond Dents and Scratches, IJCV 2022.
    """
    anywhere = np.zeros(scores.shape, bool)
    found, weights = [np.zeros(0, scores.dtype)], [np.zeros(0)]
    for region in regions:
        if not (0 <= region.image < len(scores) and region.mask.any() and region.saturation > 0):
            raise ValueError(
                f"expected an image index below {len(scores)}, a mask with pixels and a saturation "
                f"above 0, found {region}"
            )
        anywhere[region.image] |= region.mask
        # Only its highest pixels raise the overlap, the last of them by the remaining fraction.
        highest = np.sort(scores[region.image][region.mask])[::-1][: math.ceil(region.saturation)]
        detected = np.minimum(np.arange(len(highest) + 1), region.saturation)
        found.append(highest)
        weights.append(np.diff(detected) / (region.saturation * len(regions)))
    ranked = rank(["sPRO"], scores, anywhere, np.concatenate(found))
    return None if ranked is None else _area(ranked, _sums(ranked, np.concatenate(weights)), limit)


def aupro_of(ranked: Ranked, limit: float = LIMIT) -> float:
    """Return the AUPRO of ranked pixels."""
    return _area(ranked, rises(ranked), limit)


def rises(ranked: Ranked) -> Float[np.ndarray, " d"]:
    """Return by how much the mean overlap of all regions rises at each threshold."""
    regions = label_regions(ranked.labels) if ranked.regions is None else ranked.regions
    shares = 1 / (regions.areas * len(regions.areas))
    return _sums(ranked, shares[regions.labels])


def _sums(ranked: Ranked, weights: Float[np.ndarray, " m"]) -> Float[np.ndarray, " d"]:
    """Return the sum of the weights of the scores found at each threshold."""
    at = np.searchsorted(ranked.thresholds, ranked.found)
    return np.bincount(at, weights, minlength=len(ranked.thresholds))


def _area(ranked: Ranked, rises: Float[np.ndarray, " d"], limit: float) -> float:
    """Return the normalised area under a curve that rises at each threshold."""
    if not 0 < limit <= 1:
        raise ValueError(f"expected a false-positive rate in (0, 1] as limit, found {limit}")
    # A rise is spread evenly over the good pixels tied with it, then stays. Its part of the area
    # does not depend on other rises, so no cumulative sum is needed.
    start = 1 - ranked.not_above / ranked.good
    end = 1 - ranked.below / ranked.good
    slope = np.maximum(np.minimum(end, limit) - start, 0)
    np.square(slope, out=slope)
    np.divide(slope, 2 * (end - start), out=slope, where=end > start)
    return float(rises @ (slope + np.maximum(limit - end, 0))) / limit


METRICS.add("pixel_aupro")(Metric("AUPRO", "pixel", aupro_of))
