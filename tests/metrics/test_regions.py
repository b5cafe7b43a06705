"""AUPRO and sPRO against brute force, and what they refuse."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pixels import pixels

from wtflow_jax import metrics
from wtflow_jax.metrics import Region

SHAPE = (2, 3, 5)
# Few distinct values tie in most draws, many in few.
SCORES = st.sampled_from([1, 4, 1000]).flatmap(
    lambda top: hnp.arrays(np.float32, SHAPE, elements=st.integers(0, top))
)
MASKS = hnp.arrays(bool, SHAPE)
LIMITS = st.floats(0.01, 1)


def regions_by_flood_fill(mask):
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    while left:
        region, frontier = set(), [left.pop()]
        while frontier:
            y, x = frontier.pop()
            region.add((y, x))
            near = {(y + a, x + b) for a, b in itertools.product((-1, 0, 1), repeat=2)} & left
            left -= near
            frontier.extend(near)
        yield region


def area_by_thresholds(scores, good, overlap, limit):
    """Walk down all distinct thresholds; `overlap` gives the curve's height from what is found."""
    rates, heights = [0.0], [0.0]
    for threshold in np.unique(scores)[::-1]:
        found = scores >= threshold
        rates.append(np.count_nonzero(found & good) / np.count_nonzero(good))
        heights.append(overlap(found))
    rates, heights = np.array(rates), np.array(heights)
    kept = np.count_nonzero(rates <= limit)
    if kept < len(rates):
        share = (limit - rates[kept - 1]) / (rates[kept] - rates[kept - 1])
        last = heights[kept - 1] + share * (heights[kept] - heights[kept - 1])
        rates = np.append(rates[:kept], limit)
        heights = np.append(heights[:kept], last)
    return np.trapezoid(heights, rates) / limit


def aupro_by_thresholds(scores, masks, limit):
    regions = [
        (image, np.array(sorted(region)))
        for image, mask in enumerate(masks)
        for region in regions_by_flood_fill(mask)
    ]

    def overlap(found):
        return np.mean([found[image][tuple(region.T)].mean() for image, region in regions])

    return area_by_thresholds(scores, ~masks, overlap, limit)


def spro_by_thresholds(scores, regions, limit):
    good = np.ones(scores.shape, bool)
    for region in regions:
        good[region.image] &= ~region.mask

    def overlap(found):
        return np.mean([min(found[r.image][r.mask].sum() / r.saturation, 1) for r in regions])

    return area_by_thresholds(scores, good, overlap, limit)


@settings(deadline=None, max_examples=200)
@given(SCORES, MASKS, LIMITS)
def test_aupro_agrees_with_all_thresholds(scores, masks, limit):
    assume(masks.any() and not masks.all())
    expected = aupro_by_thresholds(scores, masks, limit)
    assert metrics.aupro(scores, masks, limit) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=200)
@given(
    SCORES,
    st.lists(
        st.builds(
            Region,
            image=st.integers(0, SHAPE[0] - 1),
            mask=hnp.arrays(bool, SHAPE[1:]).filter(np.any),
            saturation=st.floats(0.2, 20) | st.integers(1, 8),
        ),
        min_size=1,
        max_size=4,
    ),
    LIMITS,
)
def test_spro_agrees_with_all_thresholds(scores, regions, limit):
    covered = np.zeros(SHAPE, bool)
    for region in regions:
        covered[region.image] |= region.mask
    assume(not covered.all())
    expected = spro_by_thresholds(scores, regions, limit)
    assert metrics.spro(scores, regions, limit) == pytest.approx(expected, abs=1e-9)


def test_areas_by_hand():
    # Ranked: defect a, good, a and good tied, b (twice as large), then eight good.
    scores = np.array([9, 8, 7, 7, 6, 5, *range(-8, 0)], np.float32).reshape(1, 2, 7)
    masks = np.zeros((1, 2, 7), bool)
    masks[0, 0, [0, 2, 4, 5]] = True
    # Pixels 0, 2 and 4, 5 of one row: three components.
    # PRO 1/3 to FPR 0.1, 1/3 to 2/3 over the tie to 0.2, then 1.
    expected = (0.1 / 3 + 0.1 * (1 / 3 + 2 / 3) / 2 + 0.1) / 0.3
    assert metrics.aupro(scores, masks) == pytest.approx(expected, abs=1e-12)
    # The limit inside the tie.
    expected = (0.1 / 3 + 0.05 * (1 / 3 + 1 / 2) / 2) / 0.15
    assert metrics.aupro(scores, masks, 0.15) == pytest.approx(expected, abs=1e-12)
    # a counts at 1.5 of its pixels; b at 4 of which it has 2.
    first, second = np.zeros((2, 2, 7), bool)
    first[0, [0, 2]] = second[0, [4, 5]] = True
    regions = [Region(0, first, 1.5), Region(0, second, 4)]
    heights = 1 / 1.5 / 2, 1 / 2, 1 / 2 + 1 / 4
    expected = (0.1 * heights[0] + 0.1 * (heights[0] + heights[1]) / 2 + 0.1 * heights[2]) / 0.3
    assert metrics.spro(scores, regions, 0.3) == pytest.approx(expected, abs=1e-12)


def test_regions_are_eight_connected():
    masks = np.zeros((3, 3, 5), bool)
    masks[0, [0, 1], [0, 1]] = True
    masks[0, 2, 3:] = True
    masks[2, 0, 4] = True
    regions = metrics.label_regions(masks)
    assert regions.areas.tolist() == [2, 2, 1]
    assert regions.labels.tolist() == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("value", [False, True])
def test_undefined_of_regions(value):
    scores, masks = np.zeros((1, 2, 3), np.float32), np.full((1, 2, 3), value)
    reason = "0 good and 6 defective" if value else "6 good and 0 defective"
    with pytest.warns(metrics.UndefinedMetric, match=f"^AUPRO is undefined: {reason}$"):
        assert metrics.aupro(scores, masks) is None
    regions = [Region(0, masks[0], 2)] if value else []
    reason = reason.replace("6 defective", "2 defective")
    with pytest.warns(metrics.UndefinedMetric, match=f"^sPRO is undefined: {reason}$"):
        assert metrics.spro(scores, regions) is None
    with pytest.warns(metrics.UndefinedMetric) as warned:
        found = metrics.measure("pixel", scores, masks)
    assert set(found.values()) == {None}
    assert len(warned) == 5
    assert found.keys() == metrics.measure("pixel", *pixels(1, np.float32)).keys()


def test_nan_anywhere_leaves_areas_undefined():
    masks = np.zeros((2, 2, 3), bool)
    masks[0, 0, 1] = True
    for place in [(0, 0, 1), (1, 1, 2)]:
        scores = np.zeros(masks.shape, np.float32)
        scores[place] = np.nan
        with pytest.warns(metrics.UndefinedMetric, match="AUPRO is undefined: a score is NaN"):
            assert metrics.aupro(scores, masks) is None
        with pytest.warns(metrics.UndefinedMetric, match="sPRO is undefined: a score is NaN"):
            assert metrics.spro(scores, [Region(0, masks[0], 1)]) is None


def test_bad_inputs_are_refused():
    scores, masks = pixels(1, np.float32)
    for limit in (0.0, 1.5):
        with pytest.raises(ValueError, match="limit"):
            metrics.aupro(scores, masks, limit)
    with pytest.raises(ValueError, match="length"):
        metrics.measure("pixel", scores, masks, metrics.label_regions(masks[:3]))
    for region, message in [
        (Region(10, masks[0], 5.0), "below 10"),
        (Region(0, masks[0], 0.0), "above 0"),
        (Region(0, masks[0, 1:], 5.0), "119,170"),
        (Region(0, masks[9], 5.0), "pixels"),
    ]:
        with pytest.raises(ValueError, match=message):
            metrics.spro(scores, [region])


def test_memory_stays_far_below_a_copy():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((64, 512, 512), np.float32)
    masks = np.zeros(scores.shape, bool)
    masks[:48, 100:190, 200:290] = True
    regions = [Region(i, mask, 4000.0) for i, mask in enumerate(masks[:48])]
    for call in (
        lambda: metrics.measure("pixel", scores, masks),
        lambda: metrics.spro(scores, regions),
    ):
        tracemalloc.start()
        try:
            assert call()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # A copy in float64 is twice the scores.
        assert peak < scores.nbytes
