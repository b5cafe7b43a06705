"""From endpoints to scores, maps and image scores: against SciPy, Pillow and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from scipy.ndimage import gaussian_filter

from wtflow_jax.flow import scores

UPSAMPLE = jax.jit(scores.upsample)
LARGEST = float(np.finfo(np.float32).max)
PHI = np.array(
    [0, 1e-45, 1e-38, 1e-20, 1e-4, 0.1, 1, 4, 5.5, 50, 1e10, 1e18, 1.9e19, 1e38, np.inf], np.float32
)


def _cells(phi):
    """A cell of one channel for each value."""
    return jnp.asarray(phi, jnp.float32)[None, None, :, None]


def test_density_proxy_is_one_less_the_normal_density():
    x = jnp.linspace(-6, 6, 101)
    np.testing.assert_allclose(scores.density_proxy(x), 1 - stats.norm.pdf(x), rtol=1e-6)


def test_cell_scores_average_over_channels():
    x = jnp.stack([jnp.zeros((1, 2, 3)), jnp.full((1, 2, 3), 50.0)], axis=-1)
    expected = (1 - stats.norm.pdf(0) + 1) / 2
    np.testing.assert_allclose(scores.cell_scores(x), np.full((1, 2, 3), expected), rtol=1e-6)


def test_log_density_is_the_normal_one_less_its_peak():
    x = np.linspace(-6, 6, 101)
    expected = stats.norm.logpdf(0) - stats.norm.logpdf(x)
    np.testing.assert_allclose(scores.log_density(_cells(x)), expected[None, None], atol=1e-5)
    far = jnp.full((1, 1, 1, 2), 50.0)
    assert scores.cell_scores(far, scores.log_density)[0, 0, 0] == 1250


def test_a_cell_peaks_at_its_centre():
    cells = np.zeros((1, 3, 4), np.float32)
    cells[0, 1, 2] = 1
    maps = scores.upsample(jnp.asarray(cells), scores.upsampling((96, 128), (3, 4), 32, 0.0))
    assert np.unravel_index(np.argmax(maps[0]), (96, 128)) == (32, 64)
    half = scores.upsample(jnp.asarray(cells), scores.upsampling((96, 128), (3, 4), 32))
    # 47.5 and 79.5: the two pixels beside are equally near.
    np.testing.assert_allclose(half[0, 47:49, 79:81], np.full((2, 2), half.max()), rtol=1e-6)


def test_upsampling_is_bilinear_between_cells_and_constant_beyond():
    cells = np.array([[[1.0, 3.0], [5.0, 11.0]]], np.float32)
    maps = scores.upsample(jnp.asarray(cells), scores.upsampling((8, 8), (2, 2), 4, 1.0))
    np.testing.assert_allclose(maps[0, 1, 1], 1)
    np.testing.assert_allclose(maps[0, 0, 0], 1)
    np.testing.assert_allclose(maps[0, 3, 1], 3)
    np.testing.assert_allclose(maps[0, 3, 3], 5)
    np.testing.assert_allclose(maps[0, 7, 7], 11)


def test_half_pixel_centres_agree_with_pillow():
    cells = np.random.default_rng(0).random((1, 3, 5)).astype(np.float32)
    ours = scores.upsample(jnp.asarray(cells), scores.upsampling((48, 80), (3, 5), 16))
    theirs = Image.fromarray(cells[0]).resize((80, 48), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(ours[0], np.asarray(theirs), atol=1e-6)


def test_blurred_maps_are_scipys_within_the_image():
    cells = np.random.default_rng(0).random((1, 6, 7)).astype(np.float32)
    args = (96, 112), (6, 7), 16, 3.0
    sharp = UPSAMPLE(jnp.asarray(cells), scores.upsampling(*args))
    found = UPSAMPLE(jnp.asarray(cells), scores.upsampling(*args, blur=4.0))
    ones = gaussian_filter(np.ones((96, 112)), 4, mode="constant", truncate=9)
    expected = gaussian_filter(np.float64(sharp[0]), 4, mode="constant", truncate=9) / ones
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)


@pytest.mark.parametrize("fraction", [0.03, 0.5, 1e-9, 0.0, 1.0])
def test_image_score_is_the_mean_of_the_top_pixels(fraction):
    maps = np.random.default_rng(0).random((3, 20, 30)).astype(np.float32)
    k = max(1, int(fraction * 600))
    expected = np.sort(maps.reshape(3, -1), axis=1)[:, -k:].mean(1)
    np.testing.assert_allclose(
        scores.image_scores(jnp.asarray(maps), fraction), expected, rtol=1e-5
    )


def test_eq_2_saturates_at_one():
    a = np.asarray(scores.density_proxy(jnp.asarray(PHI)))
    exact = 1 - np.exp(-np.square(PHI.astype(np.float64)) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(a, exact, rtol=2e-7)
    assert (np.diff(a) >= 0).all()
    assert a[-1] == a[-6] == 1
    np.testing.assert_array_equal(a, scores.density_proxy(jnp.asarray(-PHI)))


def test_log_density_is_right_as_far_as_float32_goes():
    inside = PHI[(PHI > 1e-18) & (PHI <= 1e18)]
    exact = np.square(inside.astype(np.float64)) / 2
    np.testing.assert_allclose(scores.log_density(_cells(inside))[0, 0], exact, rtol=1e-6)
    assert (np.diff(scores.log_density(_cells(PHI[:-3]))) >= 0).all()


@pytest.mark.parametrize("score", scores.SCORES)
def test_stages_count_alike_however_many_channels_they_have(score):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 3, 8)), jnp.float32)
    found = scores.cell_scores(x, score, (2, 6))
    each = [scores.cell_scores(part, score) for part in (x[..., :2], x[..., 2:])]
    np.testing.assert_allclose(found, (each[0] + each[1]) / 2, rtol=1e-5)


@pytest.mark.parametrize("score", scores.SCORES)
@given(
    phi=st.lists(
        st.floats(-LARGEST, LARGEST, width=32) | st.sampled_from([np.inf, -np.inf]),
        min_size=4,
        max_size=4,
    )
)
@settings(deadline=None, max_examples=50)
def test_maps_of_any_endpoint_are_finite(score, phi):
    """An infinite cell beside a finite one: 0·∞ is no pixel."""
    x1 = np.zeros((1, 2, 2, 3), np.float32)
    x1[..., 0] = np.reshape(phi, (1, 2, 2))
    cells = scores.cell_scores(jnp.asarray(x1), scores.SCORES[score])
    maps = UPSAMPLE(cells, scores.upsampling((8, 8), (2, 2), 4))
    slack = 1e-6 * jnp.abs(cells).max()
    low, high = cells.min() - slack, cells.max() + slack
    assert ((maps >= low) & (maps <= high)).all()
    for fraction in (0.0, 0.03, 1.0):
        assert bool(jnp.isfinite(scores.image_scores(maps, fraction)).all())


@pytest.mark.parametrize("score", scores.SCORES)
def test_not_a_number_is_not_hidden(score):
    x1 = np.zeros((1, 2, 2, 3), np.float32)
    x1[0, 0, 0, 1] = np.nan
    cells = scores.cell_scores(jnp.asarray(x1), scores.SCORES[score])
    assert bool(jnp.isnan(cells[0, 0, 0]))
    maps = UPSAMPLE(cells, scores.upsampling((8, 8), (2, 2), 4))
    assert bool(jnp.isnan(scores.image_scores(maps)[0]))
