"""MVTec AD, MPDD and MVTec 3D-AD: which images, with which masks."""

from pathlib import Path

import pytest
import trees
from raising import fails

from wtflow_jax.data import Sample, categories, open_category


def kinds(category):
    return [(s.kind, s.path.name, s.label) for s in category.test]


@pytest.mark.parametrize("layout", ["mvtec_ad", "mpdd"])
def test_mvtec_ad(tmp_path, layout):
    directory = trees.mvtec_ad(tmp_path)
    category = open_category(tmp_path, "part", layout)
    assert category.name == "part"
    good = directory / "train" / "good"
    assert category.train == tuple(Sample(good / f"{i:03d}.png", 0, "good") for i in range(4))
    assert kinds(category) == [
        ("dent", "000.png", 1),
        ("dent", "001.png", 1),
        ("good", "000.png", 0),
        ("good", "001.png", 0),
    ]
    masks = directory / "ground_truth" / "dent"
    assert [s.masks for s in category.test] == [
        (masks / "000_mask.png",),
        (masks / "001_mask.png",),
        (),
        (),
    ]
    assert category.validation == ()
    assert category.saturations == {}


def test_mvtec_3d(tmp_path):
    directory = trees.mvtec_3d(tmp_path)
    category = open_category(tmp_path, "part3d", "mvtec_3d")
    assert [s.path.parent for s in category.train] == [directory / "train" / "good" / "rgb"] * 4
    assert [(s.kind, s.label) for s in category.test] == [("good", 0)] * 2 + [("hole", 1)] * 2
    assert category.test[0].masks == ()
    assert category.test[3].path == directory / "test" / "hole" / "rgb" / "001.png"
    assert category.test[3].masks == (directory / "test" / "hole" / "gt" / "001.png",)
    validation = directory / "validation" / "good" / "rgb" / "000.png"
    assert category.validation == (Sample(validation, 0, "good"),)


def test_layouts_are_told_apart_by_category(tmp_path):
    trees.mvtec_3d(tmp_path, "b")
    trees.mvtec_ad(tmp_path, "a")
    (tmp_path / "papers").mkdir()
    (tmp_path / ".cache" / "train").mkdir(parents=True)
    (tmp_path / "readme.txt").touch()
    assert categories(tmp_path) == ("a", "b")
    assert {s.kind for s in open_category(tmp_path, "a").test} == {"good", "dent"}
    assert {s.kind for s in open_category(tmp_path, "b").test} == {"good", "hole"}


def test_extensions_order_and_stray_files(tmp_path):
    directory = trees.mvtec_ad(tmp_path, bad=0)
    for name in ("010.JPG", "003.jpeg", "007.Tiff"):
        trees.write(directory / "test" / "dent" / name, trees.picture(1))
        mask = Path(name).stem + "_mask.PNG"
        trees.write(directory / "ground_truth" / "dent" / mask, trees.defect(1)[1])
    for stray in ("Thumbs.db", ".DS_Store", "._003.png", "notes.txt"):
        (directory / "test" / "dent" / stray).touch()
        (directory / "test" / stray).touch()
        (directory / "train" / "good" / stray).touch()
    category = open_category(tmp_path, "part")
    assert len(category.train) == 4
    bad = [s for s in category.test if s.label]
    assert [s.path.name for s in bad] == ["003.jpeg", "007.Tiff", "010.JPG"]
    assert bad[2].masks[0].name == "010_mask.PNG"


def test_no_test_directory(tmp_path):
    directory = trees.mvtec_ad(tmp_path, good=0, bad=0)
    with fails(str(directory / "test"), "part has train", "put test images"):
        open_category(tmp_path, "part")
    (directory / "test").mkdir()
    with fails(str(directory / "test"), "test has nothing", "put test images"):
        open_category(tmp_path, "part")
    (directory / "test" / "dent").mkdir()
    with fails(str(directory / "test" / "dent"), "no test images, found nothing"):
        open_category(tmp_path, "part")
