"""Pixels of more than eight bits: read correctly from any file or array, or one error line."""

import io
import struct
import zlib

import numpy as np
import pytest
import trees
from PIL import Image
from raising import fails

from wtflow_jax.data import find, open_image, white_of
from wtflow_jax.data.depth import White
from wtflow_jax.data.sample import Held
from wtflow_jax.support.errors import WTFlowWarning

RNG = np.random.default_rng(0)
TWELVE = RNG.integers(0, 4096, (20, 24, 3)).astype(np.uint16)
TWELVE[0, 0] = 4095
EXPECTED = np.round(TWELVE * (255 / 4095)).astype(np.uint8)
GREY = np.repeat(EXPECTED[..., :1], 3, axis=-1)


def png(values):
    """A PNG of 16 bits, grey, RGB or RGBA."""
    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    found = b"\x89PNG\r\n\x1a\n"
    for name, content in parts.items():
        checksum = struct.pack(">I", zlib.crc32(name + content))
        found += struct.pack(">I", len(content)) + name + content + checksum
    return found


def tiff(size, content, bits, channels=1, **tags):
    """A TIFF, little-endian and not compressed; ``tags`` are t262=0 and so on, of one value."""
    height, width = size
    values = {256: width, 257: height, 258: bits, 259: 1, 262: 1 if channels < 3 else 2}
    values |= {273: 8, 277: channels, 278: height, 279: len(content)}
    values |= {int(name[1:]): value for name, value in tags.items()}
    content += b"\0" * (len(content) % 2)
    after = 8 + len(content) + 2 + 12 * len(values) + 4
    entries, more = b"", b""
    for tag, value in sorted(values.items()):
        if tag == 258 and channels > 2:
            entries += struct.pack("<HHII", tag, 3, channels, after + len(more))
            more += struct.pack(f"<{channels}H", *[value] * channels)
        else:
            entries += struct.pack("<HHII", tag, 4, 1, value)
    head = b"II*\0" + struct.pack("<I", 8 + len(content))
    return head + content + struct.pack("<H", len(values)) + entries + b"\0" * 4 + more


def packed(values):
    """Rows of 12 bits a value."""
    return b"".join(
        int("".join(f"{v:012b}" for v in row), 2).to_bytes(len(row) * 12 // 8, "big")
        for row in values.tolist()
    )


def saved(values, name):
    file = io.BytesIO()
    Image.fromarray(values).save(file, name)
    return file.getvalue()


def held(content):
    return Held("image 1", lambda: content)


SIZE = TWELVE.shape[:2]
ONE = TWELVE[..., 0]
KNOWN = White(4095, 4095)
FILES = {
    "PNG": (png(TWELVE[..., :1]), GREY),
    "PNG in colour": (png(TWELVE), EXPECTED),
    "PNG, transparent": (
        png(np.dstack([TWELVE, np.full(SIZE, 65535)])),
        EXPECTED,
    ),
    "TIFF": (saved(ONE, "TIFF"), GREY),
    "TIFF, big-endian": (saved(ONE.astype(">u2"), "TIFF"), GREY),
    "TIFF of 32 bits": (saved(ONE.astype(np.int32), "TIFF"), GREY),
    "TIFF in colour": (tiff(SIZE, TWELVE.tobytes(), 16, 3), EXPECTED),
    "TIFF of floats": (saved(ONE.astype(np.float32), "TIFF"), GREY),
}


@pytest.mark.parametrize("name", FILES)
def test_files(name):
    content, expected = FILES[name]
    image = np.asarray(open_image(held(content), KNOWN))
    np.testing.assert_array_equal(image, expected)
    found = white_of([held(content)])
    assert max(value or 0 for value in found) == 4095


def test_a_file_that_says_how_many_bits_it_has():
    file = held(tiff(SIZE, packed(ONE), 12))
    assert white_of([file]) == White()
    for white in (White(), White(65535)):
        np.testing.assert_array_equal(np.asarray(open_image(file, white)), GREY)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiff(SIZE, EXPECTED.tobytes() + ONE.tobytes()[:480], 8, 4), "4 bands, but Pillow"),
        (tiff(SIZE, np.moveaxis(TWELVE, -1, 0).tobytes(), 16, 3, t284=2), "one after the other"),
        (tiff(SIZE, ONE.tobytes(), 16, t262=0), "white as zero: invert it"),
        (tiff(SIZE, EXPECTED[..., 0].tobytes(), 8, t339=2), "signed 8-bit pixels: add 128"),
        (tiff(SIZE, ONE.tobytes(), 16, t339=2), "signed 16-bit pixels: add 32768"),
        (png(TWELVE[..., :2]), "transparent pixels of 16 bits"),
        (saved(-ONE.astype(np.float32), "TIFF"), "negative, infinite or NaN"),
        (saved(ONE * np.float32(np.nan), "TIFF"), "negative, infinite or NaN"),
        (saved(ONE.astype(np.int32) - 4000, "TIFF"), "negative, infinite or NaN"),
    ],
)
def test_what_would_be_read_wrongly_is_one_line(content, message):
    with fails("image 1: ", message):
        open_image(held(content), KNOWN)


@pytest.mark.parametrize(
    "array",
    [
        TWELVE,
        TWELVE.astype(">u2"),
        TWELVE[..., ::-1][..., ::-1],
        np.asfortranarray(TWELVE),
        TWELVE.astype(np.uint32),
        TWELVE.astype(np.float64),
        (TWELVE / 4095).astype(np.float32),
        TWELVE / 4095,
    ],
)
def test_arrays(array):
    for source in (array, array[None], [array]):
        (one,) = find(source)
        white = white_of([one])
        np.testing.assert_array_equal(np.asarray(open_image(one, white)), EXPECTED)
    (one,) = find(array[..., :1])
    np.testing.assert_array_equal(np.asarray(open_image(one, white)), GREY)
    (one,) = find(array[..., ::-1], bgr=True)
    np.testing.assert_array_equal(np.asarray(open_image(one, white)), EXPECTED)


@pytest.mark.parametrize(
    "array",
    [EXPECTED, np.asfortranarray(EXPECTED), EXPECTED[..., :1], EXPECTED[..., 0], EXPECTED > 99],
)
def test_npy_files_are_what_their_arrays_are(array, tmp_path):
    """They are 8-bit, even for a model fitted on images of more bits."""
    np.save(tmp_path / "a.npy", array)
    (one,), (file,) = find(array), find(tmp_path / "a.npy")
    for white in (White(), KNOWN):
        found = [np.asarray(open_image(each, white)) for each in (one, file)]
        np.testing.assert_array_equal(*found)
    with fails("a.npy: cannot be decoded \\(an array of int64"):
        np.save(tmp_path / "a.npy", EXPECTED.astype(np.int64))
        open_image(file)


def test_half_precision_is_read_to_a_level():
    (one,) = find((TWELVE / 4095).astype(np.float16))
    found = np.asarray(open_image(one)).astype(int)
    assert abs(found - EXPECTED).max() <= 1


def test_white_is_that_of_all_images():
    def of(*highest):
        values = (np.full((4, 4), high) for high in highest)
        return white_of([one for value in values for one in find(value)])

    short = np.uint16
    assert of(short(3)) == White(255)
    assert of(short(1023)) == White(1023)
    assert of(short(900), short(1024)) == White(4095)
    assert of(short(4096)) == White(16383)
    assert of(short(16384)) == White(65535)
    assert of(0.3) == White(None, 1)
    assert of(30.0, 150.0, short(4000)) == White(4095, 255)
    assert of(0.0, 150.0) == White(None, 255)
    with fails("image 1: floating-point pixels up to 1.004: neither 0 to 1 nor 0 to 255; clip"):
        of(0.3, 1.004)
    for one, other in ((0.3, 150.0), (150.0, 0.3)):
        with fails("image 1: floating-point pixels of 0 to .*, but images before it have another"):
            of(one, other)
    assert of(np.uint8(3)) == White()
    with fails("image 1: its highest value is 70000: convert it"):
        of(70000.0)


def test_what_is_not_known_is_one_line():
    (twelve,) = find(TWELVE)
    with fails("image 1: 16-bit pixels up to 4095, and the value of white is not known"):
        open_image(twelve)
    with fails("image 1: its highest value is 4095, and in .* 1023 is white"):
        open_image(twelve, White(1023))
    (floats,) = find(TWELVE.astype(np.float32))
    with fails("image 1: floating-point pixels up to 4095"):
        open_image(floats, White(4095))
    # More than half of 16 bits.
    (bright,) = find(TWELVE * np.uint16(16))
    assert abs(np.asarray(open_image(bright)).astype(int) - EXPECTED).max() <= 1


def test_npy_files_hold_no_more_than_is_there(tmp_path):
    np.save(tmp_path / "a.npy", TWELVE)
    content = (tmp_path / "a.npy").read_bytes()
    image = np.asarray(open_image(tmp_path / "a.npy", KNOWN))
    np.testing.assert_array_equal(image, EXPECTED)
    for bad in (content[:-1], content.replace(b"(20, 24", b"(99, 99"), b"\x93NUMPY"):
        with fails("image 1: cannot be decoded"):
            open_image(held(bad), KNOWN)
    np.save(tmp_path / "b.npy", np.array([{}], object), allow_pickle=True)
    with fails("b.npy: cannot be decoded"):
        open_image(tmp_path / "b.npy", KNOWN)


def test_one_brighter_image_that_decides_for_all_is_named(tmp_path):
    files = [trees.write(tmp_path / f"{i}.png", np.full((9, 9), 900, np.uint16)) for i in range(12)]
    trees.write(tmp_path / "7.png", np.full((9, 9), 4000, np.uint16))
    with pytest.warns(WTFlowWarning, match=r"7\.png: brighter than 1023, .* 4095 is white"):
        assert white_of(files) == White(integers=4095)
