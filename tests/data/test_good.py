"""Good images of a directory with other images too: the training images, or one error."""

import numpy as np
import pytest
import trees
from raising import fails

from wtflow_jax.data import find_good, open_category
from wtflow_jax.support.errors import WTFlowWarning

MAKE = {
    "mvtec_ad": (trees.mvtec_ad, "part"),
    "mvtec_3d": (trees.mvtec_3d, "part3d"),
    "mvtec_loco": (trees.mvtec_loco, "pushpins"),
    "visa": (trees.visa, "candle"),
    "btad": (trees.btad, "02"),
    "mtd": (trees.mtd, ""),
}


@pytest.mark.parametrize("name", MAKE)
def test_of_a_category_what_trains(name, tmp_path):
    make, category = MAKE[name]
    make(tmp_path)
    listed = open_category(tmp_path, category or name, name)
    expected = [sample.path for sample in listed.train]
    directory = tmp_path / category
    for source in (directory, str(directory), [directory]):
        with pytest.warns(WTFlowWarning, match=f"its {len(expected)} training images; left out: "):
            assert find_good(source) == expected


def test_a_data_set_of_several_is_one_line(tmp_path):
    for name in ("cable", "bottle"):
        trees.mvtec_ad(tmp_path, name)
    with fails("MVTec AD, 2 categories: give one of them, for instance .*/bottle"):
        find_good(tmp_path)


def test_what_cannot_be_told_apart_is_one_line(tmp_path):
    for split in ("train", "test"):
        trees.write(tmp_path / "mine" / split / "a.png", trees.picture(0))
    with fails("mine: holds images to train on and to test", "give the directory of the good ones"):
        find_good(tmp_path / "mine")
    assert find_good(tmp_path / "mine" / "train") == [tmp_path / "mine" / "train" / "a.png"]


def test_good_beside_other_directories(tmp_path):
    root = trees.folder(tmp_path / "own")
    with pytest.warns(WTFlowWarning, match="left out: "):
        found = find_good(root)
    assert found
    assert {path.parts[-2] for path in found} <= {
        "good",
        *(p.name for p in (root / "good").iterdir()),
    }


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("Train/good/a.png", "Test/bad/b.png"), "holds images to train on and to test; give"),
        (("training/a.png", "testing/b.png"), "holds images to train on and to test; give"),
        (("x/train/a.png", "x/test/b.png"), "holds images to train on and to test"),
        (("line1/good/a.png", "line1/bad/b.png"), "line1/good: good images, and bad beside them"),
        (("ok/a.png", "ng/b.png"), "ng/b.png: a defective image, by its name, among 2 images"),
        (("a.png", "GT/a.png"), "GT/a.png: a mask, by its name"),
        (("a.png", "Masks/1.png"), "Masks/1.png: a mask, by its name"),
        (("a.png", "groundtruth/1.png"), "groundtruth/1.png: a mask, by its name"),
        (("0.png", "0-mask.png"), "0-mask.png: a mask, by its name"),
        (("0.png", "0_mask1.png"), "0_mask1.png: a mask, by its name"),
        (("0.png", "mask_0.png"), "mask_0.png: a mask, by its name"),
        (("0.png", "0_seg.png"), "0_seg.png: a mask, by its name"),
        (("0.jpg", "0.png"), "0.png: 0.jpg beside it has the same name, and may be its mask"),
    ],
)
def test_what_is_not_good_by_its_name_is_one_line(files, message, tmp_path):
    for name in files:
        trees.write(tmp_path / name, trees.picture(0))
    for source in (tmp_path, [tmp_path], {tmp_path}, iter([tmp_path]), [[tmp_path]]):
        with fails(message):
            find_good(source)


def test_good_in_any_letters_and_beside_loose_images(tmp_path):
    for name in ("Good/a.png", "Bad/b.png", "c.png"):
        trees.write(tmp_path / name, trees.picture(0))
    with pytest.warns(WTFlowWarning, match="Good: its 1 images; left out: Bad, c.png"):
        assert find_good(tmp_path) == [tmp_path / "Good" / "a.png"]


def test_names_above_what_is_given_and_of_parts_do_not_count(tmp_path):
    """The product itself may be a mask or a label."""
    root = tmp_path / "masks" / "bad" / "photos"
    paths = [trees.write(root / f"{side}_label.png", trees.picture(0)) for side in ("back", "up")]
    assert find_good(root) == paths
    # The command calls it first, then ``fit``.
    assert find_good(find_good(root)) == paths


def test_masks_are_no_good_images(tmp_path):
    image = trees.write(tmp_path / "a" / "001.png", trees.picture(0))
    mask = np.zeros((64, 64), bool)
    for path in ("ground_truth/dent/001.png", "a/001_mask.png", "a/001_label.bmp"):
        other = trees.write(tmp_path / path, mask)
        with fails(f"{path}: a mask, by its name, among 2 images"):
            find_good([image, other])
    assert find_good([image]) == [image]


def test_other_sources_stay_as_they_are(tmp_path):
    paths = [trees.write(tmp_path / kind / "0.png", trees.picture(0)) for kind in ("x", "y")]
    assert find_good(tmp_path) == paths
    assert find_good(str(tmp_path / "*" / "0.png")) == paths
    (held,) = find_good(trees.picture(0))
    assert str(held) == "image 1"
