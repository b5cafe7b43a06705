import hashlib
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import trees
from PIL import Image

from wtflow_jax.datasets import (
    Sample,
    builtin,
    categories,
    generate,
    open_category,
    parse_size,
    read_image,
    read_mask,
)
from wtflow_jax.errors import WTFlowError

DIGEST = "5e920d7ecfca5224"
SHARED = Path(__file__).parents[2] / "shared" / "data"


def fails(*parts: str):
    """Expects a one-line WTFlowError that holds each of the parts."""
    lookaheads = "".join(f"(?=.*{part})" for part in parts)
    return pytest.raises(WTFlowError, match=rf"^{lookaheads}[^\n]+\Z")


# Layouts


def test_mvtec_ad(tmp_path):
    category = trees.mvtec_ad(tmp_path)
    name, train, test = open_category(tmp_path, "part")
    assert name == "part"
    good = category / "train" / "good"
    assert train == tuple(Sample(good / f"{i:03d}.png", 0, "good") for i in range(4))
    assert [(s.kind, s.path.name, s.label) for s in test] == [
        ("dent", "000.png", 1),
        ("dent", "001.png", 1),
        ("good", "000.png", 0),
        ("good", "001.png", 0),
    ]
    masks = category / "ground_truth" / "dent"
    assert [s.masks for s in test] == [
        (masks / "000_mask.png",),
        (masks / "001_mask.png",),
        (),
        (),
    ]


def test_mvtec_3d(tmp_path):
    category = trees.mvtec_3d(tmp_path)
    train, test = open_category(tmp_path, "part3d")[1:]
    assert [s.path.parent for s in train] == [category / "train" / "good" / "rgb"] * 4
    assert [(s.kind, s.label) for s in test] == [("good", 0)] * 2 + [("hole", 1)] * 2
    assert test[0].masks == ()
    assert test[3].path == category / "test" / "hole" / "rgb" / "001.png"
    assert test[3].masks == (category / "test" / "hole" / "gt" / "001.png",)


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
    category = trees.mvtec_ad(tmp_path, bad=0)
    for name in ("010.JPG", "003.jpeg", "007.Tiff"):
        trees.write(category / "test" / "dent" / name, trees.picture(1))
        mask = Path(name).stem + "_mask.png"
        trees.write(category / "ground_truth" / "dent" / mask, trees.defect(1)[1])
    for stray in ("Thumbs.db", ".DS_Store", "._003.png", "notes.txt"):
        (category / "test" / "dent" / stray).touch()
        (category / "test" / stray).touch()
        (category / "train" / "good" / stray).touch()
    train, test = open_category(tmp_path, "part")[1:]
    assert len(train) == 4
    assert [s.path.name for s in test if s.label] == ["003.jpeg", "007.Tiff", "010.JPG"]
    assert test[2].masks[0].name == "010_mask.png"


# Directories that cannot be read as a data set


def test_root_is_missing_or_a_file(tmp_path):
    with fails("absent", "nothing there", "train/good"):
        categories(tmp_path / "absent")
    (tmp_path / "zip").touch()
    with fails("zip", "a file there", "train/good"):
        categories(tmp_path / "zip")


def test_root_without_category(tmp_path):
    with fails(str(tmp_path), "no category", "found nothing", "train/good"):
        categories(tmp_path)
    for i in range(7):
        (tmp_path / f"d{i}").mkdir()
    with fails("d0, d1", "d4 and 2 more"):
        categories(tmp_path)


def test_root_is_a_category(tmp_path):
    category = trees.mvtec_ad(tmp_path)
    with fails(str(category), "itself", f"parent directory {tmp_path}, category part"):
        open_category(category, "part")


@pytest.mark.parametrize("name", ["nut", "../part", ""])
def test_no_such_category(tmp_path, name):
    trees.mvtec_ad(tmp_path, "bottle")
    trees.mvtec_ad(tmp_path, "cable")
    with fails("choose one of bottle, cable"):
        open_category(tmp_path, name)


def test_directory_that_is_no_category(tmp_path):
    trees.mvtec_ad(tmp_path, "bottle")
    (tmp_path / "nut").mkdir()
    with fails("nut", "no train or test directory", "choose one of bottle"):
        open_category(tmp_path, "nut")


@pytest.mark.parametrize("make", [trees.mvtec_ad, trees.mvtec_3d])
def test_no_training_images(tmp_path, make):
    category = make(tmp_path, train=0)
    with fails(r"train/good", "no training images", "no such directory"):
        open_category(tmp_path, category.name)
    folder = category / "train" / "good" / ("rgb" if make is trees.mvtec_3d else "")
    folder.mkdir(parents=True)
    (folder / "000.gif").touch()
    with fails(str(folder), "no training images, found 000.gif", "png"):
        open_category(tmp_path, category.name)


def test_no_test_directory(tmp_path):
    category = trees.mvtec_ad(tmp_path, good=0, bad=0)
    with fails(str(category / "test"), "part has train", "put test images"):
        open_category(tmp_path, "part")
    (category / "test").mkdir()
    with fails(str(category / "test"), "found nothing", "put test images"):
        open_category(tmp_path, "part")
    (category / "test" / "dent").mkdir()
    with fails(str(category / "test" / "dent"), "no test images, found nothing"):
        open_category(tmp_path, "part")


@pytest.mark.parametrize(
    ("make", "mask"),
    [
        (trees.mvtec_ad, "ground_truth/dent/001_mask.png"),
        (trees.mvtec_3d, "test/hole/gt/001.png"),
    ],
)
def test_defect_without_mask(tmp_path, make, mask):
    category = make(tmp_path)
    (category / mask).unlink()
    with fails(r"001\.png: a defective image without mask", f"add {category / mask}"):
        open_category(tmp_path, category.name)


# Images


def test_colour_resized_to_height_by_width(tmp_path):
    path = trees.write(tmp_path / "a.png", trees.picture(3, 40, 70))
    np.testing.assert_array_equal(read_image(path, (40, 70)), trees.picture(3, 40, 70))
    small = read_image(path, (32, 64))
    assert small.shape == (32, 64, 3)
    assert small.dtype == np.uint8
    assert small.flags.writeable


def test_shrinking_antialiases(tmp_path):
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 200
    path = trees.write(tmp_path / "a.png", stripes)
    inner = read_image(path, (32, 32))[:, 2:-2]
    # A bilinear sampler of two neighbours would also give 100 here; at a quarter it would not.
    assert abs(inner.astype(int) - 100).max() <= 1
    stripes[:] = 0
    stripes[:, ::4] = 200
    inner = read_image(trees.write(path, stripes), (16, 16))[:, 2:-2]
    assert abs(inner.astype(int) - 50).max() <= 1


def test_grey_is_repeated(tmp_path):
    grey = trees.picture(0, 20, 30)[..., 0]
    image = read_image(trees.write(tmp_path / "a.png", grey), (20, 30))
    np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, axis=-1))
    bits = grey > 80
    image = read_image(trees.write(tmp_path / "b.png", bits), (20, 30))
    np.testing.assert_array_equal(image[..., 1], np.where(bits, 255, 0))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_grey(tmp_path, name):
    values = np.array([[0, 128, 129, 257], [1000, 32768, 65534, 65535]], np.uint16)
    path = tmp_path / name
    Image.fromarray(values).save(path)
    expected = np.round(values / 257).astype(np.uint8)
    assert expected.tolist() == [[0, 0, 1, 1], [4, 128, 255, 255]]
    np.testing.assert_array_equal(read_image(path, (2, 4))[..., 2], expected)


def test_32_bit_integers_in_16_bit_range_and_beyond(tmp_path):
    values = np.array([[0, 514], [65535, 25700]], np.int32)
    path = tmp_path / "a.tif"
    Image.fromarray(values).save(path)
    assert read_image(path, (2, 2))[..., 0].tolist() == [[0, 2], [255, 100]]
    Image.fromarray(values + 1).save(path)
    with fails("a.tif", "1 to 65536", "8 or 16 bits"):
        read_image(path, (2, 2))


def test_float_pixels_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tif")
    with fails("a.tif", "float", "8 or 16 bits"):
        read_image(tmp_path / "a.tif", (4, 4))


def test_alpha_lies_over_black(tmp_path):
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[..., :3] = 200, 100, 40
    rgba[..., 3] = [[255, 0, 51], [0, 255, 255]]
    image = read_image(trees.write(tmp_path / "a.png", rgba), (2, 3))
    expected = [[[200, 100, 40], [0, 0, 0], [40, 20, 8]], [[0] * 3, [200, 100, 40], [200, 100, 40]]]
    assert image.tolist() == expected
    grey = read_image(trees.write(tmp_path / "b.png", rgba[..., [0, 3]]), (2, 3))
    assert grey[..., 1].tolist() == [[200, 0, 40], [0, 200, 200]]


def test_palette_with_and_without_a_transparent_colour(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2], [2, 2, 1]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    colours = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]])
    image.save(tmp_path / "a.png")
    indices = [[0, 1, 2], [2, 2, 1]]
    assert read_image(tmp_path / "a.png", (2, 3)).tolist() == colours[indices].tolist()
    image.save(tmp_path / "b.png", transparency=2)
    colours[2] = 0
    assert read_image(tmp_path / "b.png", (2, 3)).tolist() == colours[indices].tolist()


def test_cmyk(tmp_path):
    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif", (16, 16))[3, 4].tolist() == [0, 255, 255]


def test_exif_orientation(tmp_path):
    shown = trees.picture(2, 32, 64)
    exif = Image.Exif()
    # 6: the camera lay on its side; to be turned a quarter clockwise before it is shown.
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(shown))).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", (32, 64)), shown)
    mask = np.zeros((32, 64), bool)
    mask[3:9, 40:60] = True
    sample = Sample(tmp_path / "a.png", 1, "dent", (trees.write(tmp_path / "m.png", mask),))
    np.testing.assert_array_equal(read_mask(sample, (32, 64)), mask)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif"])
def test_damaged_files(tmp_path, name):
    path = trees.write(tmp_path / name, trees.picture(1))
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not an image\nat all"):
        path.write_bytes(content)
        with fails(str(path), "cannot be decoded", "replace the file"):
            read_image(path, (64, 64))
    path.unlink()
    with fails(str(path), "no such file"):
        read_image(path, (64, 64))


# Masks


def test_mask_of_a_good_image_is_empty_and_no_file_is_opened():
    mask = read_mask(Sample(Path("absent.png"), 0, "good"), (32, 64))
    assert mask.dtype == bool
    assert mask.shape == (32, 64)
    assert not mask.any()


def test_masks_are_united_and_resized_by_nearest(tmp_path):
    image = trees.write(tmp_path / "a.png", trees.picture(0, 32, 64))
    first, second = np.zeros((32, 64), bool), np.zeros((32, 64), np.uint8)
    first[2:5, 10:30] = True
    # Label maps count from one: no threshold at 128.
    second[20:, 50:] = 1
    masks = trees.write(tmp_path / "m.png", first), trees.write(tmp_path / "n.png", second)
    sample = Sample(image, 1, "dent", masks)
    united = first | (second > 0)
    result = read_mask(sample, (32, 64))
    assert result.dtype == bool
    np.testing.assert_array_equal(result, united)
    larger = np.repeat(np.repeat(united, 3, axis=0), 2, axis=1)
    np.testing.assert_array_equal(read_mask(sample, (96, 128)), larger)


def test_masks_in_other_modes(tmp_path):
    marked = np.zeros((32, 64), bool)
    marked[4:7, 9:40] = True
    path = trees.write(tmp_path / "a.png", trees.picture(0, 32, 64))
    rgba = np.zeros((32, 64, 4), np.uint8)
    rgba[..., 3] = 255
    rgba[marked, 2] = 255
    cut_out = np.full((32, 64, 4), 255, np.uint8)
    cut_out[..., 3] = np.where(marked, 255, 0)
    modes = {
        "rgb": rgba[..., :3],
        "opaque": rgba,
        "cut_out": cut_out,
        "16": marked.astype(np.uint16) * 300,
    }
    for name, pixels in modes.items():
        mask = trees.write(tmp_path / f"{name}.png", pixels)
        np.testing.assert_array_equal(read_mask(Sample(path, 1, "x", (mask,)), (32, 64)), marked)
    palette = Image.fromarray(marked.astype(np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 0, 0, 0])
    palette.save(tmp_path / "p.png")
    sample = Sample(path, 1, "x", (tmp_path / "p.png",))
    np.testing.assert_array_equal(read_mask(sample, (32, 64)), marked)


def test_mask_of_another_size(tmp_path):
    image = trees.write(tmp_path / "a.png", trees.picture(0, 32, 64))
    mask = trees.write(tmp_path / "m.png", np.ones((64, 32), bool))
    with fails("m.png", "64x32", r"a\.png", "32x64"):
        read_mask(Sample(image, 1, "dent", (mask,)), (32, 64))
    mask.write_bytes(b"")
    with fails("m.png", "cannot be decoded"):
        read_mask(Sample(image, 1, "dent", (mask,)), (32, 64))


def test_parse_size():
    assert parse_size("512") == (512, 512)
    assert parse_size("512x1280") == (512, 1280)
    assert parse_size(" 64X32 ") == (64, 32)


@pytest.mark.parametrize("text", ["", "x", "512x", "x512", "5.5", "-32", "32x32x3", "big"])
def test_no_size(text):
    with fails("image size", "512x1280"):
        parse_size(text)


def test_size_off_the_grid():
    with fails("500", "multiple of 32", "take 512"):
        parse_size("512x500")
    with fails("0", "multiple of 32", "take 32"):
        parse_size("0")


# Real data


@pytest.mark.parametrize(
    ("dataset", "name", "train", "test", "good"),
    [("mvtec_ad", "bottle", 209, 83, 20), ("mvtec_3d", "tire", 210, 112, 25)],
)
def test_real_categories(dataset, name, train, test, good):
    root = SHARED / dataset
    if not (root / name).is_dir():
        pytest.skip(f"{root / name} is not here")
    assert name in categories(root)
    category = open_category(root, name)
    assert (len(category.train), len(category.test)) == (train, test)
    assert Counter(s.label for s in category.test)[0] == good
    for sample in (category.test[0], category.test[-1]):
        assert read_image(sample.path, (64, 96)).std() > 10
        assert read_mask(sample, (64, 96)).any() == bool(sample.label)


# The built-in category


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


def test_builtin_with_files_missing_or_nowhere_to_write(tmp_path):
    copy = generate(tmp_path)
    (copy / "texture" / "train" / "good" / "007.png").unlink()
    with fails(str(copy), "159 of 160", "delete this directory"):
        generate(tmp_path)
    (tmp_path / "file").touch()
    with fails("file", "cannot write", "give a directory"):
        generate(tmp_path / "file" / "cache")
