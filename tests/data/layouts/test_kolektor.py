"""KolektorSDD: label maps tell good from defective, and no item is on both sides."""

from collections import Counter

import numpy as np
import trees
from raising import fails

from wtflow_jax.data import LAYOUTS, categories, open_category, read_mask


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
    # Three parts of each item are defective, so every second item supplies good test images.
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


def test_kolektor_without_label_map_or_items(tmp_path):
    with fails(str(tmp_path), r"no kos\[0-9\]\[0-9\], found nothing", "kosNN/PartN"):
        categories(tmp_path, "kolektor_sdd")
    trees.kolektor(tmp_path, items=3, bad=1, parts=2, last=1)
    (tmp_path / "kos02" / "Part0_label.bmp").write_bytes(b"")
    with fails(r"kos02/Part0_label\.bmp", "cannot be decoded"):
        open_category(tmp_path, "kolektor_sdd", "kolektor_sdd")
    (tmp_path / "kos02" / "Part0_label.bmp").unlink()
    with fails(r"kos02/Part0\.jpg: .*without mask", r"add .*Part0_label\.bmp"):
        open_category(tmp_path, "kolektor_sdd", "kolektor_sdd")
