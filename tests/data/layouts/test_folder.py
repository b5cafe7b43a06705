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
    with fails("has train or test in it", "--data mvtec_ad --category bottle; or rename them"):
        open_category(tmp_path / "bottle", "bottle", "folder")


@pytest.mark.parametrize(
    ("name", "category"),
    [("mvtec_loco", "pushpins"), ("visa", "candle"), ("btad", "02"), ("kolektor_sdd", "")],
)
def test_of_a_published_category_the_flags_are_given(name, category, tmp_path):
    getattr(trees, name.removesuffix("_sdd"))(tmp_path)
    with fails(f"give {tmp_path} with --data {name} --category {category or name}; or "):
        open_category(tmp_path / category, (tmp_path / category).name, "folder")


def test_what_would_count_as_defective_or_not_at_all_is_one_line(tmp_path):
    for name in ("ground_truth", "GT", "mask"):
        root = trees.folder(tmp_path / name)
        trees.write(root / name / "dent" / "a.png", trees.picture(0))
        with fails(f"{name}: would be a kind of defect: name it masks"):
            open_category(root, name, "folder")
    root = trees.folder(tmp_path / "beside")
    trees.write(root / "dent" / "a_mask.png", trees.picture(0))
    with fails("a_mask.png: the mask of .*a.TIF, by its name: put it in masks/dent"):
        open_category(root, "beside", "folder")
    root = trees.folder(tmp_path / "loose")
    trees.write(root / "x.png", trees.picture(0))
    with fails("x.png: beside directories of images: put it in good or"):
        open_category(root, "loose", "folder")


@pytest.mark.parametrize("name", ["0.PNG", "1_mask.PNG"])
@pytest.mark.parametrize("other", ["X.PNG", "X-mask.png", "X_gt.PNG", "X_Mask.PNG"])
def test_a_mask_that_is_no_image_s(tmp_path, name, other):
    """A typing error, another suffix, or capitals would leave the defect without a mask."""
    root = trees.folder(tmp_path / "part")
    masks = root / "masks" / "scratch" / "left"
    renamed = masks / other.replace("X", "a" if other[1] == "." else name[0])
    (masks / name).rename(renamed)
    with fails(f"{renamed}: a mask of no image in {root}/scratch", "name it as its image"):
        open_category(root, "part", "folder")


def test_a_mask_and_its_image_in_other_case(tmp_path):
    root = trees.folder(tmp_path / "part")
    image, mask = trees.defect(0)
    trees.write(root / "dent" / "IMG_7.JPG", image)
    wrong = trees.write(root / "masks" / "dent" / "img_7.png", mask)
    with fails(f"{wrong}: a mask of no image", "upper and lower case differ"):
        open_category(root, "part", "folder")
    wrong.rename(wrong.with_name("IMG_7.png"))
    assert open_category(root, "part", "folder").test[0].masks == (wrong.with_name("IMG_7.png"),)


@pytest.mark.parametrize("name", ["good", "masks"])
def test_directories_in_other_case(tmp_path, name):
    """Their images would count as defective."""
    root = trees.folder(tmp_path / "part")
    for other in (name.upper(), name.title()):
        (root / name).rename(root / other)
        with fails(f"{root / other}: would be a kind of defect: name it {name}"):
            open_category(root, "part", "folder")
        (root / other).rename(root / name)


def test_a_mask_beside_the_kinds_of_defect(tmp_path):
    root = trees.folder(tmp_path / "part")
    loose = trees.write(root / "masks" / "a.png", trees.defect(0)[1])
    with fails(f"{loose}: a mask outside a kind of defect: put it in {root}/masks/KIND"):
        open_category(root, "part", "folder")
