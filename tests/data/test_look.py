"""Measures of the camera in an image, against closed forms of synthetic images."""

import numpy as np
import pytest
import trees
from PIL import Image, ImageFilter

from wtflow_jax.data import framing
from wtflow_jax.data.framing import Framing
from wtflow_jax.data.look import Look, look


def of(pixels, stored=None):
    return look(pixels, stored or pixels.shape[:2])


def test_one_colour():
    plain = np.full((40, 60, 3), (90, 60, 30), np.uint8)
    wanted = Look(60, 100 * 91 / 183, 100 * 31 / 183, 100 * 60 / 61, 0, 0, 2400, 2 / 3)
    np.testing.assert_allclose(of(plain), wanted)
    other = of(plain[..., ::-1])
    assert (other.red, other.blue) == (pytest.approx(wanted.blue), pytest.approx(wanted.red))


@pytest.mark.parametrize("height", [1, 64, 500])
def test_what_is_black_or_a_line_has_a_look(height):
    black = of(np.zeros((height, 1, 3), np.uint8))
    assert black[:6] == (0, pytest.approx(100 / 3), pytest.approx(100 / 3), 0, 0, 0)


@pytest.mark.parametrize("period", [4, 6, 16])
def test_sharpness_is_how_fast_a_wave_is(period):
    """Differences of a sine are sines, each 2 sin(π / period) times as high."""
    y, x = np.mgrid[: 48 * 3, : 48 * 4]
    wave = 128 + 50 * (np.sin(2 * np.pi * x / period) + np.sin(2 * np.pi * y / period))
    pixels = np.repeat(wave[..., None], 3, axis=-1).round().astype(np.uint8)
    wanted = 200 * np.sin(np.pi / period)
    assert of(pixels).sharpness == pytest.approx(wanted, rel=0.02)
    # For any brightness.
    dim = (0.5 * pixels).astype(np.uint8)
    assert of(dim).sharpness == pytest.approx(wanted, rel=0.04)


def test_sharpness_of_noise_and_of_a_blurred_image():
    noise = np.random.default_rng(0).integers(0, 256, (300, 200, 1), np.uint8)
    pixels = noise.repeat(3, axis=-1)
    assert of(pixels).sharpness == pytest.approx(100 * np.sqrt(3), rel=0.02)
    soft = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(2))
    # Its correlation is exp(−d² / 4σ²), whose fourth derivative over the second is 3 / 2σ².
    assert of(np.asarray(soft)).sharpness == pytest.approx(100 * np.sqrt(1.5) / 2, rel=0.1)


def test_light_changes_brightness_alone():
    pixels = trees.noisy(0, height=200, width=300)
    bright, dark = of(pixels), of((0.8 * pixels).astype(np.uint8))
    assert dark.brightness == pytest.approx(0.8 * bright.brightness, rel=0.01)
    np.testing.assert_allclose(dark[1:], bright[1:], rtol=0.02)


def test_more_light_on_white_ground_is_seen():
    """Two thirds cannot become lighter: a mean grows by 2.7 %, this by 4.2."""
    pixels = np.full((30, 30, 3), 255, np.uint8)
    pixels[:, :10] = 80
    lit = np.minimum(1.2 * pixels, 255).astype(np.uint8)
    assert lit.mean() < 1.03 * pixels.mean()
    assert of(lit).brightness > 1.035 * of(pixels).brightness


def test_it_is_of_the_image_and_not_of_what_fills_the_window():
    image = np.zeros((60, 30, 3), np.uint8)
    image[:, -10:] = 255
    framed = framing.frame(Image.fromarray(image), Framing((64, 64)))
    assert framed.look.brightness == pytest.approx(255 / 3**2, rel=0.1)
    assert framed.look[-2:] == (60 * 30, 2)
    # A large image is scaled before, or cut afterwards: its size is what was stored.
    whole, cut = (
        framing.frame(Image.fromarray(trees.picture(0, 200, 300)), Framing((64, 96), overlap))
        for overlap in (None, 16)
    )
    assert whole.look[-2:] == cut.look[-2:] == (60_000, 2 / 3)
    np.testing.assert_allclose(whole.look[:4], cut.look[:4], rtol=0.02)
