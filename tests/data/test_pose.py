"""Orientation of objects: known angles are found, images straightened, maps turned back."""

import numpy as np
import pytest
import trees
from objects import GROUND, hammer
from PIL import Image

from wtflow_jax.data import framing, pose, read_image
from wtflow_jax.data.framing import Framing


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def apart(a, b):
    """The difference of two angles, in degrees."""
    return float(np.degrees(abs(np.angle(np.exp(1j * (a - b))))))


@pytest.mark.parametrize("shape", [(160, 160), (150, 230), (230, 150)])
def test_the_angle_and_the_direction_are_found(rng, shape):
    for angle in rng.uniform(-np.pi, np.pi, 12):
        found = pose.estimate(hammer(rng, angle, shape))
        # The third moment is that of the long tail: the axis goes from the head to the other end.
        assert apart(found.angle, angle + np.pi) < 1.5
        assert found.skewness > 0.2
        assert found.elongation > 4
        assert (found.plain, found.size) == (1.0, shape)


def test_one_of_two_ends_that_are_alike_is_taken(rng):
    for angle in rng.uniform(-np.pi, np.pi, 12):
        found = pose.estimate(hammer(rng, angle, head=7))
        assert min(apart(found.angle, angle), apart(found.angle, angle + np.pi)) < 1.5
        assert found.skewness < 0.05


@pytest.mark.parametrize("shape", [(160, 160), (130, 230), (230, 130)])
def test_straightened_images_are_one(rng, shape):
    images = [hammer(rng, angle, shape, noise=0) for angle in rng.uniform(-1, 1, 8)]
    turned = [pose.straighten(image, pose.estimate(image)) for image in images]
    for image in turned:
        assert (image.shape, image.dtype) == ((*shape, 3), np.uint8)
        assert np.abs(image.astype(float) - turned[0]).mean() < 2
        # Along the longer side.
        y, x = np.nonzero(image[..., 0] < 130)
        assert bool(np.ptp(x) > np.ptp(y)) is (shape[1] >= shape[0])
    assert np.abs(images[0].astype(float) - images[1]).mean() > 10


def test_what_comes_from_outside_has_the_colour_of_the_border(rng):
    image = hammer(rng, 0.7, noise=0) // 2 + np.array([10, 0, 60], np.uint8)
    turned = pose.straighten(image, pose.estimate(image))
    for corner in (turned[0, 0], turned[0, -1], turned[-1, 0], turned[-1, -1]):
        assert corner.tolist() == [GROUND // 2 + 10, GROUND // 2, GROUND // 2 + 60]


@pytest.mark.parametrize("size", [(160, 220), (96, 64)])
def test_a_map_comes_back_to_where_the_image_was(rng, size):
    """A scaled image, with any aspect ratio, gives the same pose as the image itself."""
    image = hammer(rng, 0.9, (160, 220), noise=0)
    lies = pose.estimate(image)
    scaled = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
    darkness = 255.0 - pose.straighten(scaled, lies)[..., 0].astype(np.float32)
    values = pose.back(darkness, lies)
    assert (values.shape, values.dtype, values.min()) == (size, np.float32, darkness.min())
    there = 255.0 - scaled[..., 0]
    is_object = there > 100
    np.testing.assert_allclose(values[is_object].mean(), there[is_object].mean(), rtol=0.02)
    assert np.corrcoef(values.ravel(), there.ravel())[0, 1] > 0.95


def test_a_pixel_goes_there_and_back(rng):
    lies = pose.estimate(hammer(rng, -2.2))
    for y, x in ((70, 90), (85, 60)):
        one = np.zeros((160, 160), np.uint8)
        one[y - 2 : y + 3, x - 2 : x + 3] = 255
        there = pose.straighten(np.repeat(one[..., None], 3, axis=-1), lies)[..., 0]
        back = pose.back(there.astype(np.float32), lies)
        rows, columns = np.mgrid[:160, :160]
        found = (rows * back).sum() / back.sum(), (columns * back).sum() / back.sum()
        np.testing.assert_allclose(found, (y, x), atol=0.1)


def test_the_centre_is_moved_along_the_axis(rng):
    image = hammer(rng, 0.4)
    as_it_is, moved = pose.estimate(image), pose.estimate(image, 0.05)
    distance = np.subtract(moved.centre, as_it_is.centre)
    axis = np.array([np.cos(as_it_is.angle), np.sin(as_it_is.angle)])
    np.testing.assert_allclose(distance, 8 * axis, atol=1e-9)
    assert as_it_is.middle - moved.middle == pytest.approx(8)


def test_an_object_that_leaves_the_image_is_said():
    across = np.full((160, 40, 3), GROUND, np.uint8)
    across[10:150, 18:22] = 60
    assert pose.estimate(across).inside == 1
    beside = pose.estimate(across, 0.25)
    assert 0.5 < beside.inside < 0.9


@pytest.mark.parametrize("shape", [(64, 64), (40, 90), (1, 1)])
def test_an_image_of_one_colour_stays(shape):
    image = np.full((*shape, 3), 90, np.uint8)
    lies = pose.estimate(image)
    np.testing.assert_array_equal(pose.straighten(image, lies), image)
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(pose.back(values, lies), values, atol=1e-5)


def test_a_frame_is_turned_and_its_map_comes_back(rng, tmp_path):
    """Filled below: the window is wider than the image is."""
    image = Image.fromarray(hammer(rng, 0.9, (160, 220)))
    how = Framing((128, 128), pose=0.03)
    framed, plain = framing.frame(image, how), framing.frame(image, how._replace(pose=None))
    assert framed.look == plain.look
    assert framed.digest() != plain.digest()
    np.testing.assert_array_equal(framing.whole(framed, how), plain.windows[0][: plain.size[0]])
    assert framed.pose is not None
    maps = 255 - framed.windows[..., 0].astype(np.float32)
    values, there = framing.join(framed, maps, how), 255.0 - plain.windows[0, : plain.size[0], :, 0]
    assert values.shape == plain.size
    assert np.corrcoef(values.ravel(), there.ravel())[0, 1] > 0.95


def test_a_file_is_read_and_turned_at_once(rng, tmp_path):
    path = trees.write(tmp_path / "a.png", hammer(rng, 0.9, (160, 220)))
    image, lies = pose.read_image(path, (96, 96), 0.02)
    assert pose.of_each([path], 0.02) == [lies]
    np.testing.assert_array_equal(image, pose.straighten(read_image(path, (96, 96)), lies))
