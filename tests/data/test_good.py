"""Good images of a directory that holds more than good ones: those that train, or one line."""

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


def test_masks_are_no_good_images(tmp_path):
    image = trees.write(tmp_path / "a" / "001.png", trees.picture(0))
    mask = np.zeros((64, 64), bool)
    for path in ("ground_truth/dent/001.png", "a/001_mask.png", "a/001_label.bmp"):
        with fails(f"{path}: a mask, by its name, among 2 images"):
            find_good([image, trees.write(tmp_path / path, mask)])
    assert find_good([image]) == [image]


def test_other_sources_stay_as_they_are(tmp_path):
    paths = [trees.write(tmp_path / kind / "0.png", trees.picture(0)) for kind in ("x", "y")]
    assert find_good(tmp_path) == paths
    assert find_good(str(tmp_path / "*" / "0.png")) == paths
    (held,) = find_good(trees.picture(0))
    assert str(held) == "image 1"
