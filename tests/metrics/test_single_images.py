"""AUPIMO against brute force and closed forms, and where it is undefined."""

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pixels import pixels

from wtflow_jax import metrics
from wtflow_jax.metrics import single_images

SHAPE = (2, 3, 5)
# Few distinct values tie in most draws, many in few.
SCORES = st.sampled_from([1, 4, 1000]).flatmap(
    lambda top: hnp.arrays(np.float32, (4, *SHAPE[1:]), elements=st.integers(0, top))
)
MASKS = hnp.arrays(bool, SHAPE)
# Of the good pixels as many count as an image has: the first chunk is kept as it came.
WHOLE_CHUNK = np.ones((4, *SHAPE[1:]), np.float32), np.arange(15).reshape(3, 5) == np.zeros(SHAPE)
WHOLE_CHUNK[0][2, 0, :2] = 2, 0


def by_thresholds(scores, masks, bounds):
    """Walk down the distinct scores of good images; integrate by Gauss and Legendre's nodes."""
    good = scores[~masks.any((1, 2))]
    bad = [score[mask] for score, mask in zip(scores, masks, strict=True) if mask.any()]
    nodes, weights = np.polynomial.legendre.leggauss(24)
    lower, upper = np.log(bounds)
    total = 0.0
    for value in np.unique(good)[::-1]:
        rates = (good > value).mean(), (good >= value).mean()
        recalls = [np.mean([(of > value).mean() for of in bad])]
        recalls += [np.mean([(of >= value).mean() for of in bad])]
        start = max(lower, math.log(rates[0])) if rates[0] else lower
        half = (min(upper, math.log(rates[1])) - start) / 2
        if half > 0:
            at = np.exp(start + half * (nodes + 1))
            total += half * weights @ np.interp(at, rates, recalls)
    return total / (upper - lower)


@pytest.mark.parametrize("chunk", [single_images.CHUNK, 1])
@settings(deadline=None, max_examples=200)
@given(SCORES, MASKS, st.floats(1 / 30, 0.5), st.floats(1.1, 2))
@example(*WHOLE_CHUNK, 0.25, 1.875)
def test_agrees_with_all_thresholds(chunk, scores, masks, lower, ratio):
    assume(masks.any())
    # The last two images have no defect.
    masks, bounds = np.concatenate([masks, np.zeros(SHAPE, bool)]), (lower, lower * ratio)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(single_images, "CHUNK", chunk)
        found = metrics.aupimo(scores, masks, bounds)
    assert found == pytest.approx(by_thresholds(scores, masks, bounds), abs=1e-9)


def test_by_hand():
    scores = np.array([[9, 5, 1, 0], [8, 9, 3, -1], [3, 5, 0, 0]], np.float32).reshape(3, 2, 2)
    masks = np.zeros((3, 2, 2), bool)
    masks[0, 0] = masks[1, :, 0] = True
    # Recall is (1/2 + 1/2) / 2 above 5, (1 + 1/2) / 2 at it, 1 at 3: 1/2 + rate, up to 1/2.
    expected = (math.log(2) / 2 + 1 / 4 + math.log(2)) / math.log(4)
    assert metrics.aupimo(scores, masks, (1 / 4, 1)) == pytest.approx(expected, abs=1e-12)
    expected = (math.log(4 / 3) / 2 + 1 / 8 + math.log(2)) / math.log(8 / 3)
    assert metrics.aupimo(scores, masks, (3 / 8, 1)) == pytest.approx(expected, abs=1e-12)


def test_exponential_scores():
    """At the rate f they are above −log(f); recall is f · exp(shift) of those that are shifted."""
    quantiles = -np.log((np.arange(1_000_000) + 0.5) / 1_000_000)
    order = np.random.default_rng(0).permutation(len(quantiles))
    good = quantiles[order].reshape(4, 500, 500)
    shifted = np.stack([np.full((500, 500), shift) for shift in (4.0, 7.0)])
    # Each defective image has all of the quantiles of fewer pixels.
    own = -np.log((np.arange(125_000) + 0.5) / 125_000)
    masks = np.zeros((6, 500, 500), bool)
    masks[:2, :250] = True
    shifted[:, :250] += own.reshape(250, 500)
    lower, upper = single_images.BOUNDS
    expected = np.exp([4, 7]).mean() * (upper - lower) / math.log(upper / lower)
    found = metrics.aupimo(np.concatenate([shifted, good]), masks)
    assert found == pytest.approx(expected, rel=2e-3)


def test_at_the_ends():
    masks = np.zeros((3, 400, 400), bool)
    masks[1, 3:9, 5:8] = True
    lower, upper = single_images.BOUNDS
    found = metrics.measure("pixel", masks.astype(np.float32), masks)
    assert found["pixel_aupimo"] == 1
    assert metrics.aupimo(-masks.astype(np.float32), masks) == 0
    # All tied: recall is the rate.
    expected = (upper - lower) / math.log(upper / lower)
    constant = np.ones(masks.shape, np.float32)
    assert metrics.aupimo(constant, masks) == pytest.approx(expected, rel=1e-9)
    # Images weigh equally, of whatever area their defects are; a good pixel of theirs is not asked.
    masks[0, 0, 0] = True
    scores = masks.astype(np.float32)
    scores[0, 0, 0], scores[1, 300:] = -1, 2
    assert metrics.aupimo(scores, masks) == 0.5


def test_undefined_says_why():
    scores, masks = pixels(2, np.float32)
    assert metrics.aupimo(scores, masks, (1e-4, 1e-2)) is not None
    reason = "61200 pixels of good images are too few for a rate of 1e-05"
    with pytest.warns(metrics.UndefinedMetric, match=f"^AUPIMO is undefined: {reason}$"):
        assert metrics.aupimo(scores, masks) is None
    with pytest.warns(metrics.UndefinedMetric, match="^AUPIMO is undefined: no image is good$"):
        assert metrics.aupimo(scores[:7], masks[:7]) is None
    # The others have values.
    with pytest.warns(metrics.UndefinedMetric) as warned:
        found = metrics.measure("pixel", scores, masks)
    assert [name for name, value in found.items() if value is None] == ["pixel_aupimo"]
    assert len(warned) == 1
    with pytest.warns(metrics.UndefinedMetric, match="AUPIMO is undefined: 0 good and 6 defective"):
        assert metrics.aupimo(np.zeros((1, 2, 3)), np.ones((1, 2, 3), bool)) is None
    scores[9, 3, 3] = np.nan
    with pytest.warns(metrics.UndefinedMetric, match="AUPIMO is undefined: a score is NaN"):
        assert metrics.aupimo(scores, masks) is None


@pytest.mark.parametrize("bounds", [(0, 0.1), (0.1, 0.1), (0.2, 0.1), (0.1, 1.5)])
def test_bounds_that_are_none_are_refused(bounds):
    with pytest.raises(ValueError, match="lower < upper"):
        metrics.aupimo(*pixels(1, np.float32), bounds)
