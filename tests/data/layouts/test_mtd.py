"""MTD: images and masks side by side, and our split."""

from collections import Counter

import numpy as np
import trees
from raising import fails

from wtflow_jax.data import LAYOUTS, Sample, categories, open_category


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
