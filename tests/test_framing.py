"""Images of any size as windows, and maps back: what comes back is where it was."""

import itertools

import numpy as np
import pytest
import trees
from PIL import Image

from wtflow_jax import data as datasets
from wtflow_jax.data import framing
from wtflow_jax.data.framing import Framing
from wtflow_jax.support import threads


def image(height, width):
    return Image.fromarray(trees.picture(1, height, width))


def test_of_the_windows_aspect_it_is_the_preprocessing_of_training(tmp_path):
    path = trees.write(tmp_path / "a.png", trees.picture(1, 90, 135))
    framed = framing.frame(datasets.open_image(path), Framing((64, 96)))
    np.testing.assert_array_equal(framed.windows[0], datasets.read_image(path, (64, 96)))
    assert framed.size == (64, 96)


@pytest.mark.parametrize(("shape", "size"), [((100, 100), (64, 64)), ((40, 300), (13, 96))])
def test_of_another_aspect_it_is_filled_by_its_edge(shape, size):
    framed = framing.frame(image(*shape), Framing((64, 96)))
    assert framed.size == size
    (window,) = framed.windows
    assert window.shape == (64, 96, 3)
    inside = window[: size[0], : size[1]]
    wanted = np.asarray(image(*shape).resize(size[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(inside, wanted)
    filled = np.pad(inside, ((0, 64 - size[0]), (0, 96 - size[1]), (0, 0)), mode="edge")
    np.testing.assert_array_equal(window, filled)


@pytest.mark.parametrize("shape", [(64, 96), (65, 97), (130, 300), (20, 200), (200, 20)])
@pytest.mark.parametrize("overlap", [0, 16, 63])
def test_windows_cover_the_image_and_maps_come_back(shape, overlap):
    how = Framing((64, 96), overlap)
    framed = framing.frame(image(*shape), how)
    assert framed.size == shape
    np.testing.assert_array_equal(framing.whole(framed, how), np.asarray(image(*shape)))
    # A map that is a function of the pixel alone is the same from every window.
    maps = framed.windows.astype(np.float32).sum(axis=-1)
    whole = np.asarray(image(*shape)).astype(np.float32).sum(axis=-1)
    np.testing.assert_allclose(framing.join(framed, maps, how), whole, rtol=1e-6)


def test_neighbours_overlap_as_much_as_asked():
    for length in range(64, 400, 7):
        starts = framing.starts(length, 64, 16)
        assert starts[0] == 0
        assert starts[-1] == max(0, length - 64)
        assert all(b - a <= 64 - 16 for a, b in itertools.pairwise(starts))
        # No more windows than it takes.
        assert len(starts) == 1 + -(-max(0, length - 64) // 48)


def test_where_windows_overlap_their_maps_are_blended():
    how = Framing((64, 64), 32)
    framed = framing.frame(image(64, 96), how)
    assert framed.corners == ((0, 0), (0, 32))
    joined = framing.join(framed, np.stack([np.zeros((64, 64)), np.ones((64, 64))]), how)
    assert joined.shape == (64, 96)
    assert (joined[:, :32] == 0).all()
    assert (joined[:, 64:] == 1).all()
    row = joined[20]
    assert (np.diff(row[32:64]) > 0).all()
    np.testing.assert_allclose(row[32:64] + row[32:64][::-1], 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("aspect", "size"), [(1.0, (512, 512)), (0.75, (448, 576)), (3.0, (896, 288))]
)
def test_the_window_has_the_images_aspect(aspect, size):
    assert framing.size_for(512 * 512, aspect) == size


def test_what_cannot_be_decoded_comes_in_its_turn(tmp_path):
    paths = [trees.write(tmp_path / f"{i}.png", trees.picture(i)) for i in range(40)]
    paths[30].write_bytes(b"no image")
    taken = []

    def told():
        for path in paths:
            taken.append(path)
            yield path

    for i, (path, found) in enumerate(framing.framed(told(), Framing((32, 32)))):
        assert path == paths[i]
        assert isinstance(found, Exception) == (i == 30)
        # Not more at a time than are decoded ahead.
        assert len(taken) <= i + 1 + threads.AHEAD
    assert i == 39
