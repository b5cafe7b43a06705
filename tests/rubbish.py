"""Writes malformed and unusual files, one function per family."""

import io
import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import trees
from PIL import Image


def encoded(image: Image.Image, form: str, **more) -> bytes:
    """An image file as bytes."""
    file = io.BytesIO()
    image.save(file, form, **more)
    return file.getvalue()


def _files(directory: Path, contents: dict[str, bytes]) -> dict[str, Path]:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    return {name: directory / name for name in contents}


def _chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def png(width: int, height: int, pixels: bytes, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG whose header and pixels need not agree."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(pixels, 9))
    return b"\x89PNG\r\n\x1a\n" + parts + _chunk(b"IEND", b"")


def undecodable(directory: Path) -> dict[str, Path]:
    """Files with image suffixes that are not images, or are damaged."""
    image = Image.fromarray(trees.picture(1))
    contents = {"empty.png": b"", "text.jpg": b"no image\nat all", "zeros.tif": bytes(4096)}
    contents["page.webp"] = b"<html>not found</html>"
    contents["postscript.png"] = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
    for form in ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"):
        whole = encoded(image, form)
        for share in (4, 2):
            contents[f"cut{share}.{form}.png"] = whole[: len(whole) // share]
        contents[f"head.{form}.jpg"] = whole[:20]
    contents["flipped.png"] = bytes(b ^ 255 for b in encoded(image, "PNG"))
    contents["none.png"] = png(0, 0, b"")
    contents["short.png"] = png(64, 64, bytes(100))
    contents["float.tif"] = encoded(Image.fromarray(np.full((8, 8), 300, np.float32)), "TIFF")
    contents["far.tif"] = encoded(Image.fromarray(np.full((8, 8), 1 << 20, np.int32)), "TIFF")
    return _files(directory, contents)


def frames(directory: Path) -> dict[str, Path]:
    """Images of three frames or pages."""
    first, *others = (Image.fromarray(trees.picture(i)) for i in range(3))
    forms = {"a.gif": "GIF", "b.webp": "WEBP", "c.png": "PNG", "d.tiff": "TIFF"}
    more = {"save_all": True, "append_images": others}
    return _files(directory, {name: encoded(first, form, **more) for name, form in forms.items()})


def bombs(directory: Path) -> dict[str, Path]:
    """Small files of images that would take gigabytes."""
    contents = {"black.png": png(30_000, 30_000, bytes(30_000 * 3751), depth=1)}
    contents["claims.png"] = png(2**31 - 1, 2**31 - 1, b"")
    bmp = bytearray(encoded(Image.new("L", (4, 4)), "BMP"))
    bmp[18:26] = struct.pack("<ii", 100_000, 100_000)
    contents["claims.bmp"] = bytes(bmp)
    gif = bytearray(encoded(Image.new("L", (4, 4)), "GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    contents["claims.jpg"] = bytes(gif)
    return _files(directory, contents)


def odd(directory: Path) -> dict[str, Path]:
    """Unusual images with a correct reading."""
    picture = Image.fromarray(trees.picture(5))
    exif = Image.Exif()
    exif[0x0112] = 6
    grey16 = Image.fromarray(trees.picture(5)[..., 0].astype(np.uint16) * 257)
    contents = {
        "named wrongly.png": encoded(picture, "JPEG", quality=95),
        "cmyk.jpg": encoded(picture.convert("CMYK"), "JPEG"),
        "palette.png": encoded(picture.convert("P"), "PNG"),
        "16bit.png": encoded(grey16, "PNG"),
        "alpha.png": encoded(picture.convert("RGBA"), "PNG"),
        "bits.png": encoded(picture.convert("1"), "PNG"),
        "turned.jpg": encoded(picture, "JPEG", exif=exif),
        "one.png": encoded(Image.new("RGB", (1, 1), (9, 9, 9)), "PNG"),
        "long.png": encoded(Image.new("RGB", (30_000, 10), (90, 50, 20)), "PNG"),
        "high.png": encoded(Image.new("RGB", (10, 30_000), (90, 50, 20)), "PNG"),
        "black.png": encoded(Image.new("RGB", (64, 64)), "PNG"),
        "grey.png": encoded(Image.new("L", (64, 64), 128), "PNG"),
    }
    # As written by phones: a photograph followed by a thumbnail.
    more = {"save_all": True, "append_images": [picture.resize((16, 16))]}
    contents["telephone.jpg"] = encoded(picture, "MPO", **more)
    return _files(directory, contents)


NAMES = (
    "with space.png",
    " .png",
    "two\nlines.png",
    "carriage\rreturn.png",
    "tab\t.png",
    "bell\x07\x1b[31mred\x1b[0m.png",
    "=cmd|' '!A0.png",
    'quotes "and", commas.png',
    "<img src=x onerror=fail()>.png",
    "<!--<script>fail().png",
    "left\u202egnp.png",
    "line\u2028separator.png",
    "-dash.png",
    "[1]*?.png",
    "%s{0}$HOME.png",
    os.fsdecode(b"latin \xe9.png"),
    "\u732b" * 80 + ".png",
    "l" * 251 + ".png",
)


def names(directory: Path, pixels: np.ndarray) -> list[Path]:
    """One image under file names that are valid but may break a program."""
    content = encoded(Image.fromarray(pixels), "PNG")
    return sorted(_files(directory, dict.fromkeys(NAMES, content)).values())


def links(directory: Path) -> None:
    """Links to the parent, to each other, to themselves, and dangling links."""
    for name in ("a", "b"):
        trees.write(directory / name / f"{name}.png", trees.picture(0))
    (directory / "a" / "up").symlink_to(directory)
    (directory / "a" / "b").symlink_to(directory / "b")
    (directory / "b" / "a").symlink_to(directory / "a")
    (directory / "self").symlink_to(directory / "self")
    (directory / "self.png").symlink_to(directory / "self.png")
    (directory / "gone.png").symlink_to(directory / "nowhere.png")


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file whose header and data need not agree."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensors() -> dict[str, bytes]:
    """Malformed files with the suffix .safetensors."""
    one = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    return {
        "empty": b"",
        "short": b"\x08\x00\x00",
        "text": b"<html>not found</html>",
        "longer header": safetensors({}, length=2**32),
        "no JSON": safetensors(b"nothing"),
        "list": safetensors([]),
        "cut": safetensors(one, bytes(4)),
        "beyond": safetensors({"a": one["a"] | {"data_offsets": [0, 2**40]}}, bytes(8)),
        "another dtype": safetensors({"a": one["a"] | {"dtype": "Q4"}}, bytes(8)),
        "another size": safetensors({"a": one["a"] | {"shape": [3]}}, bytes(8)),
        "others": safetensors(one, bytes(8)),
    }


def texts() -> list[bytes]:
    """Malformed files with the suffix .json."""
    broken = [b"", b"{", b"\xff\xfe\x00", b"\xef\xbb\xbf{}", b"{}{}", b"\x00" * 64]
    return [*broken, b"null", b"NaN", b"1e999", b"true", b"[]", b"{}", b'[null, "a"]']


def altered(value: object) -> Iterator[object]:
    """A JSON value with each part of it in turn replaced by a value of another type, or gone."""
    strange = (None, True, -1, 2**70, 1e308, float("nan"), "..", "/etc/passwd", [], {}, [[]])
    if isinstance(value, dict):
        for key, inner in value.items():
            yield {k: v for k, v in value.items() if k != key}
            yield from (value | {key: other} for other in altered(inner))
    elif isinstance(value, list) and value:
        yield value[1:]
        yield from ([other, *value[1:]] for other in altered(value[0]))
    yield from strange


TABLES = (
    b"",
    b"\xff\xfe\x00",
    b"object,split,label,image,mask\n",
    b"object,split\ncandle,train\n",
    b"object,split,label,image,mask\ncandle,train,normal,/etc/passwd,\n",
    b"object,split,label,image,mask\ncandle,train,normal,../../etc/passwd,\n",
    b"object,split,label,image,mask\ncandle,train\n",
    b"object,split,label,image,mask\ncandle,train,normal,a,b,c,d,e\n",
    b"object,split,label,image,mask\ncandle,train,normal,nowhere.JPG,\n",
    b"object,split,label,image,mask\ncandle,test,anomaly,candle/Data/Images/Normal/0000.JPG,\n",
    b"object,split,label,image,mask\ncandle,test,normal,\x00,\n",
    b"object,split,label,image,mask\ncandle,test,normal,candle,\n",
    b'object,split,label,image,mask\ncandle,test,normal,"' + b"x" * 200_000,
)
"""In place of VisA's ``1cls.csv``."""
