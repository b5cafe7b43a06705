"""A data set compared with what was published."""

import pytest
import rubbish
import trees
from PIL import Image
from raising import fails

from wtflow_jax.data import LAYOUTS, Counts
from wtflow_jax.data.check import Row, check


@pytest.fixture
def published():
    """Sets the published counts of a layout."""
    before = dict(LAYOUTS)
    yield lambda layout, **counts: LAYOUTS.add(layout)(before[layout]._replace(published=counts))
    for layout, entry in before.items():
        LAYOUTS.add(layout)(entry)


def test_complete(tmp_path, published):
    trees.mvtec_ad(tmp_path, "nut")
    trees.mvtec_3d(tmp_path, "bolt")
    published("mvtec_ad", nut=Counts(4, 2, 2), bolt=Counts(4, 2, 2, 1))
    assert check("mvtec_ad", tmp_path) == [
        Row("nut", "train", 4, 4, "complete", True),
        Row("nut", "test good", 2, 2, "complete", True),
        Row("nut", "test defective", 2, 2, "complete", True),
        Row("bolt", "train", 4, 4, "complete", True),
        Row("bolt", "validation", 1, 1, "complete", True),
        Row("bolt", "test good", 2, 2, "complete", True),
        Row("bolt", "test defective", 2, 2, "complete", True),
    ]


def test_counts_that_differ(tmp_path, published):
    trees.mvtec_ad(tmp_path, "nut")
    published("mvtec_ad", nut=Counts(6, 1, 2, 3))
    rows = check("mvtec_ad", tmp_path)
    assert [(row.split, row.found, row.published, row.verdict, row.complete) for row in rows] == [
        ("train", 4, 6, "2 missing", False),
        ("validation", 0, 3, "3 missing", False),
        ("test good", 2, 1, "1 too many", False),
        ("test defective", 2, 2, "complete", True),
    ]


def test_missing_extra_and_unreadable_categories(tmp_path, published):
    for name in ("nut", "own", "torn"):
        trees.mvtec_ad(tmp_path, name)
    (tmp_path / "torn" / "ground_truth" / "dent" / "000_mask.png").unlink()
    published("mvtec_ad", cog=Counts(5, 6, 7), nut=Counts(4, 2, 2), torn=Counts(4, 2, 2))
    rows = check("mvtec_ad", tmp_path)
    assert rows[0] == Row("cog", "", 0, 18, "missing", False)
    (torn,) = [row for row in rows if row.category == "torn"]
    assert (torn.split, torn.found, torn.published, torn.complete) == ("", None, 8, False)
    assert torn.verdict == "cannot be read"
    assert "000.png: a defective image without mask: add" in torn.problems[0]
    own = [row for row in rows if row.category == "own"]
    assert [(row.found, row.published) for row in own] == [(4, None), (2, None), (2, None)]
    assert {(row.verdict, row.complete) for row in own} == {("extra, not published", True)}


def test_an_extra_category_does_no_harm_unless_it_is_broken(tmp_path, published):
    trees.mvtec_ad(tmp_path, "nut")
    own = trees.mvtec_ad(tmp_path, "own")
    published("mvtec_ad", nut=Counts(4, 2, 2))
    assert all(row.complete for row in check("mvtec_ad", tmp_path))
    (own / "train" / "good" / "000.png").write_bytes(b"")
    assert [row.category for row in check("mvtec_ad", tmp_path) if not row.complete] == ["own"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train/good/001.png", "train"),
        ("test/good/001.png", "test good"),
        ("test/dent/001.png", "test defective"),
        ("ground_truth/dent/001_mask.png", "test defective"),
    ],
)
def test_files_that_do_not_open(tmp_path, published, name, split):
    path = trees.mvtec_ad(tmp_path, "nut") / name
    published("mvtec_ad", nut=Counts(4, 2, 2))
    path.write_bytes(b"<html>not found</html>")
    (broken,) = [row for row in check("mvtec_ad", tmp_path) if not row.complete]
    assert broken.split == split
    assert broken.verdict == "cannot be used: 1"
    assert broken.problems[0].startswith(f"{path}: cannot be decoded")
    # Up to the last pixel.
    path.write_bytes(rubbish.encoded(Image.fromarray(trees.picture(0)), "PNG")[:-40])
    (broken,) = [row for row in check("mvtec_ad", tmp_path) if not row.complete]
    assert broken.problems[0].startswith(f"{path}: cannot be decoded")
    path.unlink()
    path.symlink_to("gone.png")
    (broken,) = [row for row in check("mvtec_ad", tmp_path) if not row.complete]
    assert broken.verdict == "cannot be used: 1"
    assert broken.problems[0] == f"{path}: no such file: restore it or take it off the list"


@pytest.mark.parametrize(
    ("layout", "make", "counts"),
    [
        ("mpdd", trees.mvtec_ad, {"part": Counts(4, 2, 2)}),
        ("mvtec_3d", trees.mvtec_3d, {"part3d": Counts(4, 2, 2, 1)}),
        ("mvtec_loco", trees.mvtec_loco, {"pushpins": Counts(4, 2, 2, 2)}),
        ("visa", trees.visa, {"candle": Counts(3, 2, 2), "pcb1": Counts(3, 2, 2)}),
        ("btad", trees.btad, {name: Counts(3, 1, 2) for name in ("01", "02", "03")}),
        ("mtd", trees.mtd, {"mtd": Counts(10, 2, 10)}),
    ],
)
def test_every_layout(tmp_path, published, layout, make, counts):
    make(tmp_path)
    published(layout, **counts)
    rows = check(layout, tmp_path)
    assert {row.category for row in rows} == set(counts)
    assert all(row.complete for row in rows)


def test_one_category_a_bar_and_one_that_is_unknown(tmp_path, published):
    trees.mvtec_ad(tmp_path, "nut")
    published("mvtec_ad", nut=Counts(4, 2, 2), cog=Counts(1, 1, 1))
    told = []

    def track(what, total):
        told.append((what, total))
        return lambda done=1, note=None: told.append(done)

    assert all(row.complete for row in check("mvtec_ad", tmp_path, ["nut"], track))
    assert told == [("nut", 8), *[1] * 8]
    assert check("mvtec_ad", tmp_path, ["not"]) == [Row("not", "", 0, None, "missing", False)]
    with fails("no category"):
        check("mvtec_ad", tmp_path / "nut" / "train")


def test_inverted_masks_are_noted(tmp_path):
    root = trees.folder(tmp_path / "bolts")
    for i in range(2):
        name = f"{i}{'_mask' * i}.PNG"
        trees.write(root / "masks" / "scratch" / "left" / name, ~trees.defect(i)[1])
    (row,) = [row for row in check("folder", root) if row.problems]
    assert (row.split, row.complete) == ("test defective", True)
    assert "0.jpg: its mask marks 93% of it, and most masks" in row.problems[0]
