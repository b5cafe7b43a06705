"""Images of any size as windows, and maps back: every pixel returns to its place."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import rubbish
import trees
from PIL import Image
from raising import fails

from wtflow_jax.data import framing, open_image, read_image
from wtflow_jax.data.framing import Framing
from wtflow_jax.data.images import is_large
from wtflow_jax.support import threads


def image(height, width):
    return Image.fromarray(trees.picture(1, height, width))


def test_of_the_windows_aspect_it_is_the_preprocessing_of_training(tmp_path):
    path = trees.write(tmp_path / "a.png", trees.picture(1, 90, 135))
    framed = framing.frame(open_image(path), Framing((64, 96)))
    np.testing.assert_array_equal(framed.windows[0], read_image(path, (64, 96)))
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
        # No more windows than needed.
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
        # At most the number decoded ahead at a time.
        assert len(taken) <= i + 1 + threads.AHEAD
    assert i == 39


def test_large_images_are_decoded_in_their_turn(tmp_path, monkeypatch):
    """At most one at a time, although several are taken ahead."""
    monkeypatch.setattr("wtflow_jax.data.images.LARGE", 64 * 64)
    paths = [trees.write(tmp_path / f"{i}.png", trees.picture(i)) for i in range(9)]
    decoded = []
    monkeypatch.setattr(
        "wtflow_jax.data.framing.open_image",
        lambda path, white: (decoded.append(path), open_image(path, white))[1],
    )
    for i, (path, _) in enumerate(framing.framed(paths, Framing((64, 64)))):
        assert path == paths[i]
        assert decoded == paths[: i + 1]
    assert is_large(paths[0])
    assert not is_large(tmp_path / "nowhere.png")
    np.save(tmp_path / "deep.npy", np.zeros((64, 64), np.uint8))
    assert is_large(tmp_path / "deep.npy")


def test_windows_of_any_aspect():
    for aspect in (1e-9, 1 / 3000, 1.0, 3000.0, 1e9):
        height, width = framing.size_for(512 * 512, aspect)
        assert min(height, width) >= 32
        assert height * width <= 1.3 * 512 * 512
    with fails("1000x1000 pixels are", "windows of 512x512", "smaller --overlap"):
        framing.frame(Image.new("RGB", (1000, 1000)), Framing((512, 512), 511))


def test_one_limit_of_pixels_and_no_warning(tmp_path):
    path = rubbish.bombs(tmp_path)["black.png"]
    with fails("black.png: has more than 178 million pixels: scale it down"):
        open_image(path)
    # Pillow warns of these, and of some that are damaged.
    path.write_bytes(rubbish.png(10_000, 10_000, bytes(10_000 * 1251), depth=1))
    rubbish.undecodable(tmp_path)
    code = "import sys; from wtflow_jax.data import Framed, Framing, find, framed\n"
    code += "for _, found in framed(find(sys.argv[1:]), Framing((32, 32))):\n"
    code += "    print(found.size if isinstance(found, Framed) else found)"
    command = [sys.executable, "-W", "default", "-c", code, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.count("(32, 32)") == 1
    assert "head.JPEG.jpg: cannot be decoded" in done.stdout
