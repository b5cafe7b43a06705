"""Masks: united, resized by nearest neighbour, refused where they blur an edge."""

from pathlib import Path

import numpy as np
import trees
from PIL import Image
from raising import fails

from wtflow_jax.data import Sample, read_mask
from wtflow_jax.data.masks import doubt


def test_mask_of_a_good_image_is_empty_and_no_file_is_opened():
    mask = read_mask(Sample(Path("absent.png"), 0, "good"), (32, 64))
    assert mask.dtype == bool
    assert mask.shape == (32, 64)
    assert not mask.any()


def test_masks_are_united_and_resized_by_nearest(tmp_path):
    image = trees.write(tmp_path / "a.png", trees.picture(0, 32, 64))
    first, second = np.zeros((32, 64), bool), np.zeros((32, 64), np.uint8)
    first[2:5, 10:30] = True
    # Label maps count from one: no threshold at 128.
    second[20:, 50:] = 1
    masks = trees.write(tmp_path / "m.png", first), trees.write(tmp_path / "n.png", second)
    sample = Sample(image, 1, "dent", masks)
    united = first | (second > 0)
    result = read_mask(sample, (32, 64))
    assert result.dtype == bool
    np.testing.assert_array_equal(result, united)
    larger = np.repeat(np.repeat(united, 3, axis=0), 2, axis=1)
    np.testing.assert_array_equal(read_mask(sample, (96, 128)), larger)


def test_masks_in_other_modes(tmp_path):
    marked = np.zeros((32, 64), bool)
    marked[4:7, 9:40] = True
    path = trees.write(tmp_path / "a.png", trees.picture(0, 32, 64))
    rgba = np.zeros((32, 64, 4), np.uint8)
    rgba[..., 3] = 255
    rgba[marked, 2] = 255
    cut_out = np.full((32, 64, 4), 255, np.uint8)
    cut_out[..., 3] = np.where(marked, 255, 0)
    modes = {
        "rgb": rgba[..., :3],
        "opaque": rgba,
        "cut_out": cut_out,
        "16": marked.astype(np.uint16) * 300,
    }
    for name, pixels in modes.items():
        mask = trees.write(tmp_path / f"{name}.png", pixels)
        np.testing.assert_array_equal(read_mask(Sample(path, 1, "x", (mask,)), (32, 64)), marked)
    palette = Image.fromarray(marked.astype(np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 0, 0, 0])
    palette.save(tmp_path / "p.png")
    sample = Sample(path, 1, "x", (tmp_path / "p.png",))
    np.testing.assert_array_equal(read_mask(sample, (32, 64)), marked)


def test_mask_of_another_size(tmp_path):
    image = trees.write(tmp_path / "a.png", trees.picture(0, 32, 64))
    mask = trees.write(tmp_path / "m.png", np.ones((64, 32), bool))
    with fails("m.png", "64x32", r"a\.png", "32x64"):
        read_mask(Sample(image, 1, "dent", (mask,)), (32, 64))
    mask.write_bytes(b"")
    with fails("m.png", "cannot be decoded"):
        read_mask(Sample(image, 1, "dent", (mask,)), (32, 64))


def test_lossy_masks_are_refused(tmp_path):
    image = trees.write(tmp_path / "a.png", trees.picture(0))
    mask = Image.fromarray(trees.defect(0)[1].astype(np.uint8) * 255)
    for name, more in (("a.jpg", {}), ("a.webp", {}), ("b.tif", {"compression": "jpeg"})):
        mask.save(tmp_path / name, **more)
        with fails(name, "blurs its edges", "save it as PNG"):
            read_mask(Sample(image, 1, "dent", (tmp_path / name,)), (64, 64))


def test_masks_that_may_be_inverted_are_noted():
    marked = {"0.png": 0.07, "1.png": 0.93, "2.png": 0.93}
    assert doubt(marked).startswith("1.png: its mask marks 93% of it, and most masks")
    # One large defect alone causes no warning.
    assert doubt({"0.png": 0.07, "1.png": 0.93}) is None
    assert doubt({}) is None
