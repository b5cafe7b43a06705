"""A directory of images, as a user has it."""

import numpy as np
import pytest
import trees
from raising import fails

from wtflow_jax.data import categories, hold_out, open_category, read_mask


def test_folder(tmp_path):
    root = trees.folder(tmp_path / "bolts")
    (root / "papers").mkdir()
    (root / "good" / "Thumbs.db").touch()
    assert categories(root, "folder") == ("bolts",)
    category = open_category(root, "bolts", "folder")
    assert category.name == "bolts"
    nested = [root / "good" / f"day{i % 2}" / f"{i}.png" for i in (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)]
    train, held_out = hold_out(nested, 2)
    assert [s.path for s in category.train] == train
    assert [(s.kind, s.path) for s in category.test] == [
        ("dent", root / "dent" / "a.TIF"),
        *[("good", path) for path in held_out],
        *[("scratch", root / "scratch" / "left" / f"{i}.jpg") for i in range(3)],
    ]
    masks = root / "masks" / "scratch" / "left"
    assert [s.masks for s in category.test if s.label] == [
        (),
        (masks / "0.PNG",),
        (masks / "1_mask.PNG",),
        (),
    ]
    np.testing.assert_array_equal(read_mask(category.test[4], (64, 64)), trees.defect(1)[1])
    assert not read_mask(category.test[5], (64, 64)).any()


@pytest.mark.parametrize(("count", "tested"), [(1, 0), (2, 1), (9, 1), (10, 2), (15, 3)])
@pytest.mark.parametrize("flat", [True, False])
def test_folder_of_good_images_alone(tmp_path, count, tested, flat):
    for i in range(count):
        trees.write(tmp_path / ("" if flat else "good") / f"{i:02d}.png", trees.picture(i))
    (tmp_path / "notes.txt").touch()
    category = open_category(tmp_path, tmp_path.name, "folder")
    assert (len(category.train), len(category.test)) == (count - tested, tested)
    assert {s.label for s in category.train + category.test} == {0}


def test_folder_with_masks_of_no_kind(tmp_path):
    root = trees.folder(tmp_path / "part")
    (root / "masks" / "scratch").rename(root / "masks" / "scrach")
    with fails("masks/scrach: masks of no kind of defect", "dent, good, masks, scratch", "name it"):
        open_category(root, "part", "folder")


def test_folder_without_good_images(tmp_path):
    with fails(str(tmp_path), "no good images, found nothing", f"put them in {tmp_path}/good"):
        open_category(tmp_path, tmp_path.name, "folder")
    # Loose images beside defects could be either.
    trees.write(tmp_path / "a.png", trees.picture(0))
    trees.write(tmp_path / "dent" / "b.png", trees.picture(1))
    with fails(str(tmp_path), "no good images, found a.png, dent"):
        open_category(tmp_path, tmp_path.name, "folder")


def test_a_published_category_is_none(tmp_path):
    trees.mvtec_ad(tmp_path, "bottle")
    with fails("has train or test in it", "give --data mvtec_ad and .*, category bottle"):
        open_category(tmp_path / "bottle", "bottle", "folder")
