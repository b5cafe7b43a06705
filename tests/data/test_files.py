"""Shared code of readers: the split is the same everywhere, and masks match by name."""

import shutil

import trees
from raising import fails

from wtflow_jax.data import hold_out, open_category


def test_hold_out_is_the_same_everywhere():
    # Fixed values: a changed random stream would move images between training and test.
    assert hold_out("abcdefghij", 3) == (list("abdfghj"), list("cei"))
    assert hold_out("abcdefghij", 0) == (list("abcdefghij"), [])
    assert hold_out("ab", 5) == ([], ["a", "b"])
    assert hold_out("", 1) == ([], [])


def test_two_files_of_one_name_are_told_of(tmp_path):
    category = trees.mvtec_ad(tmp_path / "a")
    masks = category / "ground_truth" / "dent"
    shutil.copy(masks / "000_mask.png", masks / "000_mask.bmp")
    with fails("000_mask.bmp", "000_mask.png has the same name", "rename one"):
        open_category(tmp_path / "a", "part")
    category = trees.mvtec_ad(tmp_path / "b")
    trees.write(category / "test" / "dent" / "000.bmp", trees.defect(3)[0])
    with fails("dent/000.bmp", "dent/000.png has the same name"):
        open_category(tmp_path / "b", "part")
    category = trees.mvtec_loco(tmp_path / "c")
    kind = category / "test" / "logical_anomalies"
    shutil.copy(kind / "000.png", kind / "000.bmp")
    with fails("000.bmp", "000.png has the same name"):
        open_category(tmp_path / "c", "pushpins", "mvtec_loco")
    root = trees.folder(tmp_path / "own")
    shutil.copy(root / "scratch" / "left" / "2.jpg", root / "scratch" / "left" / "2.png")
    with fails("left/2.jpg", "left/2.png has the same name"):
        open_category(root, "own", "folder")
    (root / "scratch" / "left" / "2.png").unlink()
    trees.write(root / "masks" / "scratch" / "left" / "1.bmp", trees.defect(1)[1])
    with fails("left/1.jpg: both", "1.bmp", "1_mask.PNG", "remove one"):
        open_category(root, "own", "folder")
