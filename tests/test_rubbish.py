"""Rubbish in: one clear line or a right result, no traceback, no half-written file."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rubbish
import trees
from PIL import Image
from raising import fails
from running import one_line, table, wtflow

from wtflow_jax import data as datasets
from wtflow_jax.data import Sample, open_image, read_image
from wtflow_jax.data.__main__ import main as check
from wtflow_jax.data.framing import Framing, frame, framed, size_for
from wtflow_jax.data.images import is_large, read_labels
from wtflow_jax.data.listing import find
from wtflow_jax.support import threads
from wtflow_jax.support.errors import WTFlowError, shown

# Messages


def test_what_is_shown_is_one_line_of_any_terminal():
    assert shown("a\nb\x1b[0m\u202e\udcff é 猫") == "a\\nb\\x1b[0m\\u202e\\udcff é 猫"
    assert str(WTFlowError("two\nlines")) == "two\\nlines"


# Images


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


def test_one_limit_of_pixels_and_no_warning(tmp_path):
    path = rubbish.bombs(tmp_path)["black.png"]
    with fails("black.png: has more than 178 million pixels: scale it down"):
        open_image(path)
    # Pillow warns of these, and of some that are damaged.
    path.write_bytes(rubbish.png(10_000, 10_000, bytes(10_000 * 1251), depth=1))
    rubbish.undecodable(tmp_path)
    code = "import sys; from wtflow_jax import errors, files, framing\n"
    code += "for _, found in framing.framed(files.find(sys.argv[1:]), framing.Framing((32, 32))):\n"
    code += "    print(found.size if isinstance(found, framing.Framed) else found)"
    command = [sys.executable, "-W", "default", "-c", code, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.count("(32, 32)") == 1
    assert "head.JPEG.jpg: cannot be decoded" in done.stdout


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


def test_large_images_are_decoded_in_their_turn(tmp_path, monkeypatch):
    """At most one at a time, however many are taken ahead."""
    monkeypatch.setattr("wtflow_jax.data.images.LARGE", 64 * 64)
    paths = [trees.write(tmp_path / f"{i}.png", trees.picture(i)) for i in range(9)]
    decoded = []
    monkeypatch.setattr(
        "wtflow_jax.data.framing.open_image",
        lambda path: (decoded.append(path), open_image(path))[1],
    )
    for i, (path, _) in enumerate(framed(paths, Framing((64, 64)))):
        assert path == paths[i]
        assert decoded == paths[: i + 1]
    assert is_large(paths[0])
    assert not is_large(tmp_path / "nowhere.png")
    assert list(threads.ahead(abs, range(-40, 0), alone=lambda n: n % 3 == 0)) == [
        *range(40, 0, -1)
    ]


def test_windows_of_any_aspect():
    for aspect in (1e-9, 1 / 3000, 1.0, 3000.0, 1e9):
        height, width = size_for(512 * 512, aspect)
        assert min(height, width) >= 32
        assert height * width <= 1.3 * 512 * 512
    with fails("1000x1000 pixels are", "windows of 512x512", "smaller --overlap"):
        frame(Image.new("RGB", (1000, 1000)), Framing((512, 512), 511))


# Files


def test_links_are_followed_once(tmp_path):
    rubbish.links(tmp_path / "in")
    found = [path.name for path in find([str(tmp_path / "in")])]
    # Links that lead nowhere are told of when they are read.
    assert found == ["gone.png", "self.png", "a.png", "b.png"]
    for name in ("self", "self.png", "gone.png"):
        with fails(name, "no such file or directory"):
            list(find([str(tmp_path / "in" / name)]))
    root = trees.folder(tmp_path / "own")
    whole = datasets.open_category(root, "own", "folder")
    (root / "scratch" / "up").symlink_to(root / "scratch")
    assert datasets.open_category(root, "own", "folder") == whole


def test_two_files_of_one_name_are_told_of(tmp_path):
    category = trees.mvtec_ad(tmp_path / "a")
    masks = category / "ground_truth" / "dent"
    shutil.copy(masks / "000_mask.png", masks / "000_mask.bmp")
    with fails("000_mask.bmp", "000_mask.png has the same name", "rename one"):
        datasets.open_category(tmp_path / "a", "part")
    category = trees.mvtec_ad(tmp_path / "b")
    trees.write(category / "test" / "dent" / "000.bmp", trees.defect(3)[0])
    with fails("dent/000.bmp", "dent/000.png has the same name"):
        datasets.open_category(tmp_path / "b", "part")
    category = trees.mvtec_loco(tmp_path / "c")
    kind = category / "test" / "logical_anomalies"
    shutil.copy(kind / "000.png", kind / "000.bmp")
    with fails("000.bmp", "000.png has the same name"):
        datasets.open_category(tmp_path / "c", "pushpins", "mvtec_loco")
    root = trees.folder(tmp_path / "own")
    shutil.copy(root / "scratch" / "left" / "2.jpg", root / "scratch" / "left" / "2.png")
    with fails("left/2.jpg", "left/2.png has the same name"):
        datasets.open_category(root, "own", "folder")
    (root / "scratch" / "left" / "2.png").unlink()
    trees.write(root / "masks" / "scratch" / "left" / "1.bmp", trees.defect(1)[1])
    with fails("left/1.jpg: both", "1.bmp", "1_mask.PNG", "remove one"):
        datasets.open_category(root, "own", "folder")


def test_lossy_masks_are_refused(tmp_path):
    image = trees.write(tmp_path / "a.png", trees.picture(0))
    mask = Image.fromarray(trees.defect(0)[1].astype(np.uint8) * 255)
    for name, more in (("a.jpg", {}), ("a.webp", {}), ("b.tif", {"compression": "jpeg"})):
        mask.save(tmp_path / name, **more)
        with fails(name, "blurs its edges", "save it as PNG"):
            datasets.read_mask(Sample(image, 1, "dent", (tmp_path / name,)), (64, 64))


def test_inverted_masks_are_noted(tmp_path, small_model, capsys):
    root = tmp_path / "in"
    for i in range(2):
        trees.write(root / "good" / f"{i}.png", trees.noisy(50 + i))
    for i in range(3):
        image, mask = trees.defect(i)
        trees.write(root / "dent" / f"{i}.png", image)
        # One large defect is none that is noted.
        trees.write(root / "masks" / "dent" / f"{i}.png", ~mask if i == 2 else mask)
    assert check(["check", "folder", str(root)]) == 0
    assert "inverted" not in capsys.readouterr().out
    image, mask = trees.defect(0)
    trees.write(root / "masks" / "dent" / "0.png", ~mask)
    assert check(["check", "folder", str(root)]) == 0
    note = f"{root / 'dent' / '0.png'}: its mask marks 93% of it, and most masks"
    assert note in capsys.readouterr().out
    assert wtflow("evaluate", small_model, root, "--out", tmp_path / "out") == 0
    assert note in capsys.readouterr().out


def test_what_is_no_file_or_larger_than_any_image(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(3 << 30)
    for path, told in (("pipe.png", "not a file"), ("sparse.png", "more than 2 GiB")):
        with fails(f"{path}: cannot be decoded", told):
            open_image(tmp_path / path)
    with fails("/dev/zero: cannot be decoded", "not a file"):
        open_image(Path("/dev/zero"))


# Commands


def test_all_rubbish_in_one_folder_is_a_row_each(small_model, tmp_path, capsys):
    found = tmp_path / "found"
    bad = rubbish.undecodable(tmp_path / "in" / "a") | rubbish.frames(tmp_path / "in" / "b")
    bad |= rubbish.bombs(tmp_path / "in" / "c")
    good = rubbish.odd(tmp_path / "in" / "d")
    rubbish.links(tmp_path / "in" / "e")
    bad |= {name: tmp_path / "in" / "e" / name for name in ("gone.png", "self.png")}
    bad.pop("a.gif")  # No image by its name.
    assert wtflow("predict", small_model, tmp_path / "in", "--out", found) == 3
    rows = table(found)
    assert len(rows) == len(bad) + len(good) + 2
    assert {row["path"] for row in rows if row["error"]} == set(map(str, bad.values()))
    assert all("\n" not in row["error"] for row in rows)
    assert f"{len(bad)} not scored" in capsys.readouterr().out
    assert not list(found.rglob("*.part"))


def test_names_of_any_kind(small_model, tmp_path, capsys):
    """Through fit, predict, a resumed predict, standard input, evaluate, report and check."""
    paths = rubbish.names(tmp_path / "in" / "good", trees.noisy(77))
    found = tmp_path / "found"
    arguments = "predict", small_model, tmp_path / "in", "--out", found
    assert wtflow(*arguments) == 0
    capsys.readouterr()
    assert [row["path"] for row in table(found)] == [str(path) for path in paths]
    maps = [row["map"] for row in table(found)]
    assert len(set(maps)) == len(paths)
    assert all((found / name).is_file() for name in maps)
    assert wtflow(*arguments, "--resume") == 0
    assert len(table(found)) == len(paths)
    assert wtflow("report", found) == 0
    text = (found / "report.html").read_text()
    assert "<img src=x" not in text
    assert "<!--<script>fail" not in text
    for i, path in enumerate(sorted((small_model.parent / "good").iterdir())):
        (tmp_path / "new").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "new" / f"{i}\x1b[31m.png")
    capsys.readouterr()
    assert wtflow("fit", tmp_path / "new", "--out", tmp_path / "model", "--image-size", "64") == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "\\x1b[31m.png (" in told
    assert check(["check", "folder", str(tmp_path / "in")]) == 0
    (tmp_path / "in" / "good" / "two\nlines.png").write_bytes(b"")
    assert check(["check", "folder", str(tmp_path / "in")]) == 1
    assert "two\\nlines.png: cannot be decoded" in capsys.readouterr().out


def test_a_directory_that_is_no_utf_8(small_model, tmp_path):
    """In a process of its own, whose output is strict."""
    root = tmp_path / os.fsdecode(b"caf\xe9\x1b[0m")
    for kind in ("good", os.fsdecode(b"d\xe9faut")):
        for i in range(2):
            trees.write(root / kind / f"{i}.png", trees.noisy(80 + i))
    code = """
import sys
from wtflow_jax.app.cli import main
model, root, found = sys.argv[1:]
assert main(["evaluate", model, root, "--out", root + "/out"]) == 0
assert main(["report", root + "/out"]) == 0
sys.exit(main(["predict", model, "-", "--out", found]))
"""
    given = b"".join(os.fsencode(path) + b"\n" for path in root.rglob("[01].png"))
    whole = [sys.executable, "-c", code, small_model, root, tmp_path / "found"]
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(whole, input=given, capture_output=True, env=strict, check=True)
    assert b"\x1b" not in done.stdout
    assert b"\xe9" not in done.stdout
    assert sorted(os.fsencode(row["path"]) for row in table(tmp_path / "found")) == sorted(
        given.splitlines()
    )


@pytest.mark.parametrize("flags", [(), ("--overlap", "8")])
def test_fit_on_unusual_images(small_model, tmp_path, flags, capsys):
    """Constant ones of different greys, and one that is 30,000 pixels long."""
    out = tmp_path / "model"
    for i in range(4):
        trees.write(tmp_path / "greys" / f"{i}.png", np.full((40, 40), 60 * i, np.uint8))
    size = "--image-size", "64"
    assert wtflow("fit", tmp_path / "greys", "--out", out, *size, *flags) == 0
    more = rubbish.odd(tmp_path / "odd")
    assert wtflow("predict", out, tmp_path / "odd", "--out", tmp_path / "found") == 0
    assert len(table(tmp_path / "found")) == len(more)
    assert all(np.isfinite(float(row["score"])) for row in table(tmp_path / "found"))
    some = (more[name] for name in ("long.png", "one.png", "grey.png", "alpha.png"))
    assert flags or wtflow("fit", *some, "--out", tmp_path / "other", *size) == 0
    for i in range(4):
        trees.write(tmp_path / "black" / f"{i}.png", np.zeros((40, 40), np.uint8))
    capsys.readouterr()
    assert wtflow("fit", tmp_path / "black", "--out", tmp_path / "no", *size, *flags) == 1
    assert "4 images are 1 and copies of them" in one_line(capsys.readouterr().err)
    (tmp_path / "black" / "3.png").write_bytes(b"")
    assert wtflow("fit", tmp_path / "black", "--out", tmp_path / "no", *size, *flags) == 1
    assert "3.png: cannot be decoded" in one_line(capsys.readouterr().err)
    assert not (tmp_path / "no").exists()


def test_evaluate_says_what_is_bad(small_model, tmp_path, capsys):
    def bad_image(root):
        (root / "good" / "z.png").write_bytes(b"")

    def bad_mask(root):
        (root / "masks" / "dent" / "0.png").write_bytes(b"")

    def other_size(root):
        trees.write(root / "masks" / "dent" / "0.png", np.ones((5, 7), bool))

    for i, (spoil, words) in enumerate(
        ((bad_image, "z.png: cannot"), (bad_mask, "0.png: cannot"), (other_size, "5x7 pixels"))
    ):
        root = tmp_path / str(i)
        trees.write(root / "good" / "0.png", trees.noisy(60))
        image, mask = trees.defect(0)
        trees.write(root / "dent" / "0.png", image)
        trees.write(root / "masks" / "dent" / "0.png", mask)
        spoil(root)
        assert wtflow("evaluate", small_model, root, "--out", tmp_path / "out") == 1
        assert words in one_line(capsys.readouterr().err)
        assert not (tmp_path / "out").exists()
