import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from wtflow_jax.flow import scores


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
    np.testing.assert_allclose(scores.log_density(jnp.asarray(x)), expected, atol=1e-5)
    far = jnp.full((1, 1, 1, 2), 50.0)
    assert scores.cell_scores(far, "log_density")[0, 0, 0] == 1250


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
    from PIL import Image

    cells = np.random.default_rng(0).random((1, 3, 5)).astype(np.float32)
    ours = scores.upsample(jnp.asarray(cells), scores.upsampling((48, 80), (3, 5), 16))
    theirs = Image.fromarray(cells[0]).resize((80, 48), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(ours[0], np.asarray(theirs), atol=1e-6)


@pytest.mark.parametrize("fraction", [0.03, 0.5, 1e-9, 0.0, 1.0])
def test_image_score_is_the_mean_of_the_top_pixels(fraction):
    maps = np.random.default_rng(0).random((3, 20, 30)).astype(np.float32)
    k = max(1, int(fraction * 600))
    expected = np.sort(maps.reshape(3, -1), axis=1)[:, -k:].mean(1)
    np.testing.assert_allclose(
        scores.image_scores(jnp.asarray(maps), fraction), expected, rtol=1e-5
    )
