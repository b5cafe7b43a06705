from collections import Counter

import numpy as np
import pytest
import trees
from raising import fails

from wtflow_jax.data import LAYOUTS, Sample, categories, open_category, read_mask
from wtflow_jax.data.split import hold_out

# MTD


def test_mtd(tmp_path):
    trees.mtd(tmp_path)
    (tmp_path / "README.md").touch()
    (tmp_path / "MT_Free" / "Imgs" / "Thumbs.db").touch()
    assert categories(tmp_path, "mtd") == ("mtd",)
    category = open_category(tmp_path, "mtd", "mtd")
    order = np.random.RandomState(0).permutation(12).tolist()
    free = [f"exp1_num_{i:05d}.jpg" for i in range(12)]
    assert [s.path.name for s in category.train] == sorted(free[i] for i in order[2:])
    good = [s.path.name for s in category.test if not s.label]
    assert good == sorted(free[i] for i in order[:2])
    bad = [s for s in category.test if s.label]
    assert category.test[:10] == tuple(bad)
    assert [s.kind for s in bad][::2] == ["Blowhole", "Break", "Crack", "Fray", "Uneven"]
    imgs = tmp_path / "MT_Crack" / "Imgs"
    assert bad[5] == Sample(imgs / "exp2_num_1.jpg", 1, "Crack", (imgs / "exp2_num_1.png",))


def test_mtd_masks_and_images_of_the_same_name_are_not_mixed_up(tmp_path):
    trees.mtd(tmp_path)
    imgs = tmp_path / "MT_Fray" / "Imgs"
    (imgs / "exp2_num_0.jpg").rename(imgs / "exp2_num_0.JPG")
    (imgs / "exp2_num_0.png").rename(imgs / "exp2_num_0.PNG")
    fray = [s for s in open_category(tmp_path, "mtd", "mtd").test if s.kind == "Fray"]
    assert [(s.path.suffix, s.masks[0].suffix) for s in fray] == [
        (".JPG", ".PNG"),
        (".jpg", ".png"),
    ]
    (imgs / "exp2_num_1.png").unlink()
    with fails(r"exp2_num_1\.jpg: a defective image without mask", r"add .*exp2_num_1\.png"):
        open_category(tmp_path, "mtd", "mtd")


def test_mtd_as_published(tmp_path):
    counts = {"Free": 952, "Blowhole": 115, "Break": 85, "Crack": 57, "Fray": 32, "Uneven": 103}
    for kind, count in counts.items():
        directory = tmp_path / f"MT_{kind}" / "Imgs"
        directory.mkdir(parents=True)
        for i in range(count):
            (directory / f"exp1_num_{i}.jpg").touch()
            (directory / f"exp1_num_{i}.png").touch()
    category = open_category(tmp_path, "mtd", "mtd")
    labels = Counter(s.label for s in category.test)
    assert (len(category.train), labels[0], labels[1], 0) == LAYOUTS["mtd"].published["mtd"]
    assert {k: v for k, v in Counter(s.kind for s in category.test).items() if k != "good"} == {
        kind: count for kind, count in counts.items() if kind != "Free"
    }


def test_mtd_elsewhere(tmp_path):
    (tmp_path / "Magnetic").mkdir()
    with fails(str(tmp_path), "no MT_Free, found Magnetic", "MT_{Free"):
        categories(tmp_path, "mtd")
    trees.mtd(tmp_path)
    with fails("tiles: no such category", "choose one of mtd"):
        open_category(tmp_path, "tiles", "mtd")


# KolektorSDD


def test_kolektor_as_published(tmp_path):
    trees.kolektor(tmp_path)
    assert categories(tmp_path, "kolektor_sdd") == ("kolektor_sdd",)
    category = open_category(tmp_path, "kolektor_sdd", "kolektor_sdd")
    labels = Counter(s.label for s in category.test)
    found = len(category.train), labels[0], labels[1], len(category.validation)
    assert found == LAYOUTS["kolektor_sdd"].published["kolektor_sdd"]
    every = [s.path for s in category.train + category.test]
    assert len(set(every)) == len(every) == 399
    assert not any("_label" in path.name for path in every)
    bad = [s for s in category.test if s.label]
    assert category.test[:52] == tuple(bad)
    assert {s.kind for s in bad} == {"defect"}
    assert all(s.masks == (s.path.with_name(f"{s.path.stem}_label.bmp"),) for s in bad)
    assert all(read_mask(s, (20, 8)).sum() == 10 for s in bad)
    assert not any(s.masks for s in category.train)


def test_kolektor_twins_do_not_cross(tmp_path):
    # Three parts of every item are defective: so many test that every other item is drawn from.
    trees.kolektor(tmp_path, bad=150)
    category = open_category(tmp_path, "kolektor_sdd", "kolektor_sdd")
    good = [s.path for s in category.test if not s.label]
    twins = ("kos01", "kos26", "kos27", "kos34")
    items = {f"kos{item:02d}" for item in range(1, 51)}
    assert {path.parent.name for path in good} == items - set(twins)
    train = Counter(s.path.parent.name for s in category.train)
    assert [train[name] for name in twins] == [5] * 4
    others = [
        tmp_path / item / f"Part{part}.jpg"
        for item in sorted(items - set(twins))
        for part in range(3, 8)
        if (item, part) != ("kos50", 7)
    ]
    drawn = np.random.RandomState(0).permutation(len(others))[:150]
    assert good == sorted(others[i] for i in drawn)


def test_kolektor_without_label_map_or_images(tmp_path):
    with fails(str(tmp_path), "no kosNN, found nothing"):
        categories(tmp_path, "kolektor_sdd")
    trees.kolektor(tmp_path, items=3, bad=1, parts=2, last=1)
    (tmp_path / "kos02" / "Part0_label.bmp").write_bytes(b"")
    with fails(r"kos02/Part0_label\.bmp", "cannot be decoded"):
        open_category(tmp_path, "kolektor_sdd", "kolektor_sdd")
    (tmp_path / "kos02" / "Part0_label.bmp").unlink()
    with fails(r"kos02/Part0\.jpg: .*without mask", r"add .*Part0_label\.bmp"):
        open_category(tmp_path, "kolektor_sdd", "kolektor_sdd")
    trees.kolektor(tmp_path / "bad", items=3, parts=2, bad=9)
    with fails("no good images to train on, 6 defective and 0 good"):
        open_category(tmp_path / "bad", "kolektor_sdd", "kolektor_sdd")


# A directory of images


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


# The split of data sets without one


def test_hold_out_is_the_same_everywhere():
    # Written down: a stream that changed would move images between training and test.
    assert hold_out("abcdefghij", 3) == (list("abdfghj"), list("cei"))
    assert hold_out("abcdefghij", 0) == (list("abcdefghij"), [])
    assert hold_out("ab", 5) == ([], ["a", "b"])
    assert hold_out("", 1) == ([], [])
