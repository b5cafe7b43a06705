"""The built-in category: the same pixels everywhere, exact masks, made once."""

import hashlib
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raising import fails

from wtflow_jax.data import builtin, categories, generate, open_category, read_mask

DIGEST = "5e920d7ecfca5224"


@pytest.fixture(scope="module")
def photographs():
    return builtin._photographs()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("builtin") / "made" / "on the way")


def pixels(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.png")):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(np.asarray(Image.open(path)).tobytes())
    return digest.hexdigest()


def test_builtin_layout(root):
    assert categories(root) == ("texture",)
    category = open_category(root, "texture")
    assert len(category.train) == 60
    kinds = Counter(s.kind for s in category.test)
    assert kinds == {"good": 20, "blob": 10, "blur": 10, "cut_paste": 10, "scratch": 10}
    assert {Image.open(s.path).size for s in category.train + category.test} == {(192, 192)}


def test_builtin_is_the_same_everywhere(root, tmp_path):
    again = generate(tmp_path)
    assert pixels(again) == pixels(root)
    # With a new digest goes a new builtin.VERSION, or caches keep the old pixels.
    assert builtin.VERSION == 1
    assert pixels(root).startswith(DIGEST)


def test_builtin_masks_are_exact(photographs, root):
    for sample in open_category(root, "texture").test:
        made = builtin.make_image(photographs, "test", sample.kind, int(sample.path.stem))
        np.testing.assert_array_equal(np.asarray(Image.open(sample.path)), made.image)
        mask = read_mask(sample, (192, 192))
        np.testing.assert_array_equal(made.image != made.good, mask)
        assert mask.any() == bool(sample.label)
        if sample.label:
            # 40 to 135 pixels across where the image is shown at 512.
            extents = [np.ptp(np.nonzero(mask)[axis]) + 1 for axis in (0, 1)]
            assert 15 <= max(extents) <= 51
            assert mask.mean() < 0.06


def test_builtin_splits_share_no_pixel(photographs):
    (start, stop), (test_start, test_stop) = builtin.COLUMNS["train"], builtin.COLUMNS["test"]
    assert 0 == start < stop <= test_start < test_stop <= 512
    # Photographs of one grey per split show which part a crop was drawn from.
    row = np.where(np.arange(512) < stop, 10, 200).astype(np.uint8)
    marked = (np.tile(row, (512, 1)),) * 3
    for i in range(60):
        assert (builtin.make_image(marked, "train", "good", i).image == 10).all()
    for kind, count in (("good", 20), ("cut_paste", 10)):
        for i in range(count):
            # Pasting may step one off to differ from what it covers.
            image = builtin.make_image(marked, "test", kind, i).image
            assert (image >= 199).all()


def test_builtin_is_reused(root):
    stamp = root.stat().st_mtime_ns
    assert generate(root.parent) == root
    assert root.stat().st_mtime_ns == stamp
    assert [p.name for p in root.parent.iterdir()] == [root.name]


def test_builtin_made_by_two_at_once(root, tmp_path):
    barrier, roots = threading.Barrier(2), []

    def make():
        barrier.wait()
        roots.append(generate(tmp_path))

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(roots) == 2
    assert [p.name for p in tmp_path.iterdir()] == [root.name]
    assert pixels(roots[0]) == pixels(root)


def test_builtin_that_was_killed_is_made_anew(root, tmp_path):
    (tmp_path / "unfinished-1" / "texture").mkdir(parents=True)
    (tmp_path / "unfinished-1" / "texture" / "half.png").touch()
    assert pixels(generate(tmp_path)) == pixels(root)
    assert [p.name for p in tmp_path.iterdir()] == [root.name]


def test_builtin_with_files_missing_or_a_file_in_its_place(tmp_path):
    copy = generate(tmp_path)
    (copy / "texture" / "train" / "good" / "007.png").unlink()
    with fails(str(copy), "159 of 160", "delete this directory"):
        generate(tmp_path)
    (tmp_path / "file").touch()
    with fails("file", "give a directory"):
        generate(tmp_path / "file")
