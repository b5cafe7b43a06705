from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import trees
from conftest import shared
from raising import fails

from wtflow_jax.data import LAYOUTS, Sample, categories, open_category, read_image, read_mask


def kinds(category):
    return [(s.kind, s.path.name, s.label) for s in category.test]


# The catalogue


def test_unknown_layout(tmp_path):
    with fails("layout 'mvtec'", "no such layout", "take one of mvtec_ad, mpdd", "folder"):
        categories(tmp_path, "mvtec")
    with fails("layout ''", "take one of"):
        open_category(tmp_path, "part", "")


def test_published_sums():
    sums = {
        name: tuple(map(sum, zip(*layout.published.values(), strict=True)))
        for name, layout in LAYOUTS.items()
    }
    assert sums == {
        "mvtec_ad": (3629, 467, 1258, 0),
        "mpdd": (888, 176, 282, 0),
        "mvtec_3d": (2656, 249, 948, 294),
        "mvtec_loco": (1778, 575, 561 + 432, 305),
        "visa": (8659, 962, 1200, 0),
        "btad": (1799, 451, 290, 0),
        "mtd": (762, 190, 392, 0),
        "kolektor_sdd": (295, 52, 52, 0),
        "folder": (),
    }
    numbers = [len(layout.published) for layout in LAYOUTS.values()]
    assert numbers == [15, 6, 10, 5, 12, 3, 1, 1, 0]


@pytest.mark.parametrize(("dataset", "name"), [("mvtec_ad", "bottle"), ("mvtec_3d", "tire")])
def test_real_categories(dataset, name):
    root = shared("data", dataset, name).parent
    assert name in categories(root, dataset)
    category = open_category(root, name, dataset)
    labels = Counter(s.label for s in category.test)
    found = len(category.train), labels[0], labels[1], len(category.validation)
    assert found == LAYOUTS[dataset].published[name]
    for sample in (category.test[0], category.test[-1]):
        assert read_image(sample.path, (64, 96)).std() > 10
        assert read_mask(sample, (64, 96)).any() == bool(sample.label)


# MVTec AD, MPDD and MVTec 3D-AD


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


# VisA


def test_visa(tmp_path):
    trees.visa(tmp_path)
    (tmp_path / "LICENSE-DATASET").touch()
    assert categories(tmp_path, "visa") == ("candle", "pcb1")
    category = open_category(tmp_path, "pcb1", "visa")
    data = tmp_path / "pcb1" / "Data"
    names = ("0000.JPG", "0001.JPG", "0003.JPG")
    assert category.train == tuple(
        Sample(data / "Images" / "Normal" / name, 0, "good") for name in names
    )
    assert kinds(category) == [
        ("anomaly", "000.JPG", 1),
        ("anomaly", "001.JPG", 1),
        ("good", "0002.JPG", 0),
        ("good", "0004.JPG", 0),
    ]
    assert category.test[1].masks == (data / "Masks" / "Anomaly" / "001.png",)
    # Values 1 and 3 alike.
    mask = trees.defect(1)[1]
    mask[40:44, 5:9] = True
    np.testing.assert_array_equal(read_mask(category.test[1], (64, 64)), mask)


@pytest.mark.parametrize(
    ("old", "new", "messages"),
    [
        ("object,split", "object,set", ["columns object, set, label", "instead of object, split"]),
        ("train,normal", "train,anomaly", [r"000\d.JPG is train, anomaly", "restore"]),
        ("test,normal", "val,normal", [r"000\d.JPG is val, normal", "restore"]),
        ("pcb1,train", "pcb2,train", ["no train images of pcb1", "restore"]),
        ("Normal/0003", "Normal/0009", ["0009.JPG: listed in", "no such file"]),
        (
            "Masks/Anomaly/001",
            "Masks/Anomaly/009",
            ["001.JPG: a defective image without mask", "add .*009.png"],
        ),
        (
            "pcb1/Data/Masks/Anomaly/001.png",
            "",
            ["001.JPG: a defective image without mask", "add .*pcb1/Data/Masks/Anomaly/001.png"],
        ),
        ("Normal/0003", "Normal/" + "0" * 300, ["1cls.csv: .* is too long for a file", "restore"]),
    ],
)
def test_visa_table_is_wrong(tmp_path, old, new, messages):
    table = trees.visa(tmp_path)
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new))
    with fails(*messages):
        open_category(tmp_path, "pcb1", "visa")


def test_visa_without_table(tmp_path):
    table = trees.visa(tmp_path)
    table.write_bytes(b"object,\xff")
    with fails(str(table), "cannot be read", "restore the published table"):
        open_category(tmp_path, "candle", "visa")
    table.unlink()
    with fails(str(table), r"cannot be read \(No such file", "restore the published table"):
        open_category(tmp_path, "candle", "visa")


# BTAD


@pytest.mark.parametrize(
    ("name", "image", "mask"), [("01", "bmp", "png"), ("02", "png", "PNG"), ("03", "BMP", "bmp")]
)
def test_btad(tmp_path, name, image, mask):
    trees.btad(tmp_path)
    (tmp_path / name / "test" / "ko" / "Thumbs.db").touch()
    assert categories(tmp_path, "btad") == ("01", "02", "03")
    category = open_category(tmp_path, name, "btad")
    assert [(s.path.name, s.label) for s in category.train] == [
        (f"000{i}.{image}", 0) for i in range(3)
    ]
    assert kinds(category) == [
        ("good", f"0000.{image}", 0),
        ("ko", f"0000.{image}", 1),
        ("ko", f"0001.{image}", 1),
    ]
    masks = tmp_path / name / "ground_truth" / "ko"
    assert category.test[2].masks == (masks / f"0001.{mask}",)
    np.testing.assert_array_equal(read_mask(category.test[2], (64, 64)), trees.defect(1)[1])


# Directories that cannot be read as a data set


@pytest.mark.parametrize("layout", LAYOUTS)
def test_root_is_missing_or_a_file(tmp_path, layout):
    with fails("absent", "nothing there", "give the data set's directory"):
        categories(tmp_path / "absent", layout)
    (tmp_path / "zip").touch()
    with fails("zip", "a file there", "give the data set's directory"):
        open_category(tmp_path / "zip", "part", layout)


@pytest.mark.parametrize("layout", ["mvtec_ad", "mvtec_3d", "mvtec_loco", "visa", "btad"])
def test_root_without_category(tmp_path, layout):
    with fails(str(tmp_path), "no category", "found nothing", "CATEGORY/"):
        categories(tmp_path, layout)
    for i in range(7):
        (tmp_path / f"d{i}").mkdir()
    with fails("d0, d1", "d4 and 2 more"):
        categories(tmp_path, layout)


@pytest.mark.parametrize(
    ("layout", "make", "name"),
    [
        ("mvtec_ad", trees.mvtec_ad, "part"),
        ("mvtec_3d", trees.mvtec_3d, "part3d"),
        ("mvtec_loco", trees.mvtec_loco, "pushpins"),
        ("visa", trees.visa, "candle"),
        ("btad", trees.btad, "02"),
    ],
)
def test_root_is_a_category_or_a_name_is_none(tmp_path, layout, make, name):
    make(tmp_path)
    with fails(str(tmp_path / name), "itself", f"parent directory {tmp_path}, category {name}"):
        open_category(tmp_path / name, name, layout)
    (tmp_path / "nut").mkdir()
    with fails("nut: not laid out as a category", f"choose one of .*{name}"):
        open_category(tmp_path, "nut", layout)
    for wrong in ("bolt", f"../{name}", ""):
        with fails("choose one of"):
            open_category(tmp_path, wrong, layout)


@pytest.mark.parametrize(
    ("layout", "make", "name", "train"),
    [
        ("mvtec_ad", trees.mvtec_ad, "part", "part/train/good"),
        ("mvtec_3d", trees.mvtec_3d, "part3d", "part3d/train/good/rgb"),
        ("mvtec_loco", trees.mvtec_loco, "pushpins", "pushpins/train/good"),
        ("btad", trees.btad, "02", "02/train/ok"),
        ("btad", trees.btad, "02", "02/test/ok"),
        ("btad", trees.btad, "02", "02/test/ko"),
        ("mvtec_ad", trees.mvtec_ad, "part", "part/test/good"),
        ("mtd", trees.mtd, "mtd", "MT_Free/Imgs"),
        ("mtd", trees.mtd, "mtd", "MT_Crack/Imgs"),
    ],
)
def test_no_images(tmp_path, layout, make, name, train):
    make(tmp_path)
    for path in (tmp_path / train).iterdir():
        path.unlink()
    (tmp_path / train / "000.gif").touch()
    with fails(str(tmp_path / train), "no .*images.*, found 000.gif", "put them there .*jpg"):
        open_category(tmp_path, name, layout)
    (tmp_path / train / "000.gif").unlink()
    if layout != "mvtec_ad" or "train" in train:
        (tmp_path / train).rmdir()
        with fails(str(tmp_path / train), "no .*images.*, found no such directory"):
            open_category(tmp_path, name, layout)


def test_no_test_directory(tmp_path):
    directory = trees.mvtec_ad(tmp_path, good=0, bad=0)
    with fails(str(directory / "test"), "part has train", "put test images"):
        open_category(tmp_path, "part")
    (directory / "test").mkdir()
    with fails(str(directory / "test"), "found nothing", "put test images"):
        open_category(tmp_path, "part")
    (directory / "test" / "dent").mkdir()
    with fails(str(directory / "test" / "dent"), "no test images, found nothing"):
        open_category(tmp_path, "part")


@pytest.mark.parametrize(
    ("layout", "make", "name", "mask"),
    [
        ("mvtec_ad", trees.mvtec_ad, "part", "part/ground_truth/dent/001_mask.png"),
        ("mvtec_3d", trees.mvtec_3d, "part3d", "part3d/test/hole/gt/001.png"),
        ("btad", trees.btad, "01", "01/ground_truth/ko/0001.png"),
        (
            "mvtec_loco",
            trees.mvtec_loco,
            "pushpins",
            "pushpins/ground_truth/structural_anomalies/000/000.png",
        ),
    ],
)
def test_defect_without_mask(tmp_path, layout, make, name, mask):
    make(tmp_path)
    (tmp_path / mask).unlink()
    with fails("a defective image without mask", f"add {tmp_path / mask}"):
        open_category(tmp_path, name, layout)
