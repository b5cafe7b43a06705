"""Images scaled to windows within a program, against Pillow on the host."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from wtflow_jax.data import framing, scaling
from wtflow_jax.data.framing import Framing

SIZE = 64, 96
SHAPES = {
    "the window's": (64, 96),
    "halved": (128, 192),
    "a sixth, where halves are rounded": (384, 576),
    "no whole ratio": (151, 227),
    "smaller": (17, 33),
    "a pixel": (1, 1),
    "tall": (300, 50),
    "wide": (50, 300),
    "one row": (1, 700),
    "one column": (700, 1),
    "a half row to the even": (128, 93),
    "a half that floats miss": (1280, 1370),
    "large": (1200, 1600),
}


@pytest.fixture(scope="module")
def window():
    """The function for images of any size, traced once, as an exported program has it."""
    shape = jax.export.symbolic_shape("b, h, w, 3")
    run = jax.jit(lambda images: scaling.window(images, SIZE))
    return jax.export.export(run)(jax.ShapeDtypeStruct(shape, jnp.uint8)).call


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_it_is_what_pillow_makes(shape, window):
    image = noise(shape)
    framed = framing.frame(Image.fromarray(image), Framing(SIZE))
    windows, inside = window(image[None])
    assert windows.dtype == jnp.uint8
    assert tuple(inside.tolist()) == framed.size
    np.testing.assert_array_equal(windows[0], framed.windows[0])


def test_images_of_a_batch_are_apart(window):
    images = np.stack([noise((100, 80), seed) for seed in range(3)])
    together, _ = window(images)
    for image, found in zip(images, together, strict=True):
        np.testing.assert_array_equal(window(image[None])[0][0], found)


def test_a_window_stays_as_it_is(window):
    image = noise(SIZE)
    np.testing.assert_array_equal(window(image[None])[0][0], image)


def test_it_is_the_same_where_jax_counts_in_64_bits():
    images = noise((2, 150, 100))
    with jax.enable_x64(True):
        found = jax.jit(lambda images: scaling.window(images, SIZE))(images)[0]
    np.testing.assert_array_equal(found, scaling.window(jnp.asarray(images), SIZE)[0])
