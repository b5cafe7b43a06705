"""The table of data sets, and the errors of all readers for unreadable directories."""

from collections import Counter

import pytest
import trees
from conftest import shared
from raising import fails

from wtflow_jax.data import LAYOUTS, categories, open_category, read_image, read_mask


def test_unknown_layout(tmp_path):
    with fails("--data mvtec: no such choice", "take one of .*mvtec_ad, mpdd", "folder"):
        categories(tmp_path, "mvtec")
    with fails("no such choice", "take one of"):
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
    numbers = {name: len(layout.published) for name, layout in LAYOUTS.items()}
    assert numbers == {
        "mvtec_ad": 15,
        "mpdd": 6,
        "mvtec_3d": 10,
        "mvtec_loco": 5,
        "visa": 12,
        "btad": 3,
        "mtd": 1,
        "kolektor_sdd": 1,
        "folder": 0,
    }


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
