"""Decoding: the correct pixels, or one error line."""

from pathlib import Path

import numpy as np
import pytest
import rubbish
import trees
from PIL import Image
from raising import fails

from wtflow_jax.data import Sample, open_image, parse_size, read_image, read_mask
from wtflow_jax.data.masks import read_labels


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
    with fails("a.tif", "up to 65536", "convert it to 8 bits"):
        read_image(path, (2, 2))


def test_float_pixels_are_from_0_to_1(tmp_path):
    values = np.array([[0, 0.25], [0.5, 1]], np.float32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif", (2, 2))[..., 0].tolist() == [[0, 64], [128, 255]]
    Image.fromarray(2 * values).save(tmp_path / "a.tif")
    with fails("a.tif", "floating-point pixels up to 2", "convert it to 8 bits"):
        read_image(tmp_path / "a.tif", (2, 2))


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


def test_parse_size():
    assert parse_size("512") == (512, 512)
    assert parse_size("512x1280") == (512, 1280)
    assert parse_size(" 64X32 ") == (64, 32)


@pytest.mark.parametrize("text", ["", "x", "512x", "x512", "5.5", "-32", "32x32x3", "big"])
def test_no_size(text):
    with fails("image size", "512x1280"):
        parse_size(text)


def test_a_size_is_text():
    with fails(r"image size \(64, 64\): write it as text"):
        parse_size((64, 64))


def test_size_off_the_grid():
    with fails("512x500", "takes multiples of 32", "give 480 or 512 for 500"):
        parse_size("512x500")
    with fails("0", "takes multiples of 32", "give 32 for 0"):
        parse_size("0")
    with fails("512", "dinov2_vits14 takes multiples of 14", "give 504 or 518"):
        parse_size("512", 14, "dinov2_vits14")
    assert parse_size("448x672", 14) == (448, 672)


def test_bytes_are_read_through_the_path(tmp_path, monkeypatch):
    path = trees.write(tmp_path / "a.png", trees.picture(3))
    content = path.read_bytes()
    other = trees.write(tmp_path / "b.png", trees.picture(9)).read_bytes()
    monkeypatch.setattr(Path, "read_bytes", lambda self: {path: other}[self])
    assert content != other
    np.testing.assert_array_equal(read_image(path, (64, 64)), trees.picture(9))


def test_images_that_cannot_be_read_are_one_line_each(tmp_path):
    found = rubbish.undecodable(tmp_path / "a") | rubbish.bombs(tmp_path / "b")
    for name, path in (found | rubbish.frames(tmp_path / "c")).items():
        with fails(name):
            open_image(path)
        # A mask may have such values.
        if name not in ("float.tif", "far.tif"):
            with fails(name):
                read_labels(path)


def test_several_frames_are_refused_and_telephones_have_one(tmp_path):
    for path in rubbish.frames(tmp_path).values():
        with fails("has several frames or pages", "save it as a file of its own"):
            open_image(path)
    assert open_image(rubbish.odd(tmp_path)["telephone.jpg"]).size == (64, 64)


def test_unusual_images_have_a_right_reading(tmp_path):
    shapes = {"one.png": (1, 1), "long.png": (10, 30_000), "high.png": (30_000, 10)}
    for name, path in rubbish.odd(tmp_path).items():
        image = open_image(path)
        assert image.mode == "RGB"
        assert (image.height, image.width) == shapes.get(name, (64, 64))
        close = "wrongly", "alpha", "telephone"
        if any(word in name for word in close):
            difference = np.asarray(image).astype(int) - trees.picture(5)
            assert np.abs(difference).mean() < 5, name
    turned = read_image(tmp_path / "turned.jpg", (64, 64)).astype(int)
    assert np.abs(turned - np.rot90(trees.picture(5), -1)).mean() < 5
