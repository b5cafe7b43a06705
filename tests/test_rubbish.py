"""Rubbish in: one clear line or a right result, no traceback, no half-written file."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import jinja2
import numpy as np
import pytest
import rubbish
import trees
from PIL import Image
from raising import fails
from running import one_line
from safetensors.numpy import save_file

from wtflow_jax import checksum, cli, datasets, figures, model, stream, threads, untrusted
from wtflow_jax.backbones import features, weights
from wtflow_jax.datasets import Sample, open_image, read_image
from wtflow_jax.datasets.__main__ import main as check
from wtflow_jax.datasets.images import is_large, read_labels
from wtflow_jax.datasets.loco import read_saturations
from wtflow_jax.errors import WTFlowError, shown
from wtflow_jax.files import find
from wtflow_jax.framing import Framing, frame, framed, size_for
from wtflow_jax.report import page


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model of few small images."""
    place = tmp_path_factory.mktemp("place")
    for i in range(4):
        trees.write(place / "good" / f"{i}.png", noisy(i))
    assert run("fit", place / "good", "--out", place / "model", "--image-size", "64") == 0
    return place


def noisy(seed):
    pixels = trees.picture(0).astype(int)
    pixels += np.random.default_rng(seed).integers(-12, 13, pixels.shape)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def run(*arguments):
    return cli.main([os.fspath(argument) for argument in arguments])


def table(directory):
    path = directory / "predictions.csv"
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


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
    monkeypatch.setattr("wtflow_jax.datasets.images.LARGE", 64 * 64)
    paths = [trees.write(tmp_path / f"{i}.png", trees.picture(i)) for i in range(9)]
    decoded = []
    monkeypatch.setattr(
        "wtflow_jax.framing.open_image", lambda path: (decoded.append(path), open_image(path))[1]
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


def test_inverted_masks_are_noted(tmp_path, place, capsys):
    root = tmp_path / "in"
    for i in range(2):
        trees.write(root / "good" / f"{i}.png", noisy(50 + i))
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
    assert run("evaluate", place / "model", root, "--out", tmp_path / "out") == 0
    assert note in capsys.readouterr().out


# Commands


def test_all_rubbish_in_one_folder_is_a_row_each(place, tmp_path, capsys):
    found = tmp_path / "found"
    bad = rubbish.undecodable(tmp_path / "in" / "a") | rubbish.frames(tmp_path / "in" / "b")
    bad |= rubbish.bombs(tmp_path / "in" / "c")
    good = rubbish.odd(tmp_path / "in" / "d")
    rubbish.links(tmp_path / "in" / "e")
    bad |= {name: tmp_path / "in" / "e" / name for name in ("gone.png", "self.png")}
    bad.pop("a.gif")  # No image by its name.
    assert run("predict", place / "model", tmp_path / "in", "--out", found) == 3
    rows = table(found)
    assert len(rows) == len(bad) + len(good) + 2
    assert {row["path"] for row in rows if row["error"]} == set(map(str, bad.values()))
    assert all("\n" not in row["error"] for row in rows)
    assert f"{len(bad)} not scored" in capsys.readouterr().out
    assert not list(found.rglob("*.part"))


def test_names_of_any_kind(place, tmp_path, capsys):
    """Through fit, predict, a resumed predict, standard input, evaluate, report and check."""
    paths = rubbish.names(tmp_path / "in" / "good", noisy(77))
    found = tmp_path / "found"
    arguments = "predict", place / "model", tmp_path / "in", "--out", found
    assert run(*arguments) == 0
    capsys.readouterr()
    assert [row["path"] for row in table(found)] == [str(path) for path in paths]
    maps = [row["map"] for row in table(found)]
    assert len(set(maps)) == len(paths)
    assert all((found / name).is_file() for name in maps)
    assert run(*arguments, "--resume") == 0
    assert len(table(found)) == len(paths)
    assert run("report", found) == 0
    text = (found / "report.html").read_text()
    assert "<img src=x" not in text
    assert "<!--<script>fail" not in text
    for i, path in enumerate(sorted((place / "good").iterdir())):
        (tmp_path / "new").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "new" / f"{i}\x1b[31m.png")
    capsys.readouterr()
    assert run("fit", tmp_path / "new", "--out", tmp_path / "model", "--image-size", "64") == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "\\x1b[31m.png (" in told
    assert check(["check", "folder", str(tmp_path / "in")]) == 0
    (tmp_path / "in" / "good" / "two\nlines.png").write_bytes(b"")
    assert check(["check", "folder", str(tmp_path / "in")]) == 1
    assert "two\\nlines.png: cannot be decoded" in capsys.readouterr().out


def test_a_directory_that_is_no_utf_8(place, tmp_path):
    """In a process of its own, whose output is strict."""
    root = tmp_path / os.fsdecode(b"caf\xe9\x1b[0m")
    for kind in ("good", os.fsdecode(b"d\xe9faut")):
        for i in range(2):
            trees.write(root / kind / f"{i}.png", noisy(80 + i))
    code = """
import sys
from wtflow_jax.cli import main
model, root, found = sys.argv[1:]
assert main(["evaluate", model, root, "--out", root + "/out"]) == 0
assert main(["report", root + "/out"]) == 0
sys.exit(main(["predict", model, "-", "--out", found]))
"""
    given = b"".join(os.fsencode(path) + b"\n" for path in root.rglob("[01].png"))
    whole = [sys.executable, "-c", code, place / "model", root, tmp_path / "found"]
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(whole, input=given, capture_output=True, env=strict, check=True)
    assert b"\x1b" not in done.stdout
    assert b"\xe9" not in done.stdout
    assert sorted(os.fsencode(row["path"]) for row in table(tmp_path / "found")) == sorted(
        given.splitlines()
    )


@pytest.mark.parametrize("flags", [(), ("--overlap", "8")])
def test_fit_on_unusual_images(place, tmp_path, flags, capsys):
    """Constant ones of different greys, and one that is 30,000 pixels long."""
    out = tmp_path / "model"
    for i in range(4):
        trees.write(tmp_path / "greys" / f"{i}.png", np.full((40, 40), 60 * i, np.uint8))
    size = "--image-size", "64"
    assert run("fit", tmp_path / "greys", "--out", out, *size, *flags) == 0
    more = rubbish.odd(tmp_path / "odd")
    assert run("predict", out, tmp_path / "odd", "--out", tmp_path / "found") == 0
    assert len(table(tmp_path / "found")) == len(more)
    assert all(np.isfinite(float(row["score"])) for row in table(tmp_path / "found"))
    some = (more[name] for name in ("long.png", "one.png", "grey.png", "alpha.png"))
    assert flags or run("fit", *some, "--out", tmp_path / "other", *size) == 0
    for i in range(4):
        trees.write(tmp_path / "black" / f"{i}.png", np.zeros((40, 40), np.uint8))
    capsys.readouterr()
    assert run("fit", tmp_path / "black", "--out", tmp_path / "no", *size, *flags) == 1
    assert "4 images are 1 and copies of them" in one_line(capsys.readouterr().err)
    (tmp_path / "black" / "3.png").write_bytes(b"")
    assert run("fit", tmp_path / "black", "--out", tmp_path / "no", *size, *flags) == 1
    assert "3.png: cannot be decoded" in one_line(capsys.readouterr().err)
    assert not (tmp_path / "no").exists()


def test_evaluate_says_what_is_bad(place, tmp_path, capsys):
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
        trees.write(root / "good" / "0.png", noisy(60))
        image, mask = trees.defect(0)
        trees.write(root / "dent" / "0.png", image)
        trees.write(root / "masks" / "dent" / "0.png", mask)
        spoil(root)
        assert run("evaluate", place / "model", root, "--out", tmp_path / "out") == 1
        assert words in one_line(capsys.readouterr().err)
        assert not (tmp_path / "out").exists()


# Readers of JSON, tables and tensors


def quiet(call, *arguments):
    """Return whether a call came to a result; the only other way is a line."""
    try:
        call(*arguments)
    except WTFlowError:
        return False
    return True


def test_json_is_never_believed(tmp_path):
    for text in rubbish.texts():
        for name, call in (
            ("defects_config.json", read_saturations),
            ("shards.json", lambda path: stream.Shards(path.parent)),
        ):
            (tmp_path / name).write_bytes(text)
            quiet(call, tmp_path / name)
    index = {"shape": [1, 2, 2, 3], "digest": "", "shards": ["../../etc/passwd"]}
    for wrong in ({}, {"shards": [], "shape": [float("inf"), 1, 1, 1]}):
        (tmp_path / "shards.json").write_text(json.dumps(index | wrong))
        with fails("shards.json: is no index of shards"):
            stream.Shards(tmp_path)
    with pytest.raises(ValueError, match="nested too deeply"):
        untrusted.parse(b"[" * 100_000)
    for name in ("/etc/passwd", "../x", "a/../../x", 3, None):
        with pytest.raises(ValueError, match=r"leads out of|is no path"):
            untrusted.inside(tmp_path, name)


def test_altered_models(place, tmp_path, capsys, monkeypatch):
    """By somebody who knows how checksums are made."""
    shutil.copytree(place / "model", tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    whole = json.loads(path.read_text())
    monkeypatch.setattr(checksum, "is_whole", lambda description: True)
    monkeypatch.setattr(model, "file_digest", lambda path: whole["tensors"])
    # Some of them: benchmarks/fuzz.py tries all.
    texts = [json.dumps(other).encode() for other in rubbish.altered(whole)][::12]
    for text in texts + rubbish.texts():
        path.write_bytes(text)
        if run("info", tmp_path / "model"):
            one_line(capsys.readouterr().err)
    path.write_text(json.dumps(whole))
    tensors = tmp_path / "model" / "model.safetensors"
    for content in rubbish.tensors().values():
        tensors.write_bytes(content)
        assert run("info", tmp_path / "model") == 1
        one_line(capsys.readouterr().err)
    for names in (["a" + "/a" * 9000], ["", "a"], ["a", "a/b"], ["stats/0", "stats/2"]):
        save_file(dict.fromkeys(names, np.zeros(2, np.float32)), tensors)
        assert run("info", tmp_path / "model") == 1
        one_line(capsys.readouterr().err)


def test_altered_runs(place, tmp_path, capsys, monkeypatch):
    """What report is given: results.json, scores.npz and predictions.jsonl."""
    trees.write(tmp_path / "in" / "good" / "0.png", noisy(60))
    trees.write(tmp_path / "in" / "dent" / "0.png", trees.defect(0)[0])
    assert run("evaluate", place / "model", tmp_path / "in", "--out", tmp_path / "run") == 0
    assert run("predict", place / "model", tmp_path / "in", "--out", tmp_path / "found") == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    del results["rows"][0]["environment"], results["config"]
    results |= {"config": {}}
    (row,) = results["rows"]
    results["rows"] = [{name: row[name] for name in ("category", "scores", "decision", "colours")}]
    row = json.loads((tmp_path / "found" / "predictions.jsonl").read_text().splitlines()[0])
    capsys.readouterr()
    # The library of charts is large, and the same for all.
    library = types.SimpleNamespace(javascript_bundle=lambda _: "")
    monkeypatch.setattr(page, "_packages", lambda: (jinja2, library))
    for directory, name, value in (
        (tmp_path / "run", "results.json", results),
        (tmp_path / "found", "predictions.jsonl", row),
    ):
        texts = [json.dumps(other).encode() for other in rubbish.altered(value)][::10]
        for text in texts + rubbish.texts()[:9]:
            (directory / name).write_bytes(text)
            (directory / "report.html").unlink(missing_ok=True)
            if run("report", directory):
                one_line(capsys.readouterr().err)
                assert not (directory / "report.html").exists()
    (tmp_path / "found" / "predictions.jsonl").write_text(json.dumps(row | {"map": "../secret"}))
    assert run("report", tmp_path / "found") == 1
    assert "'../secret' leads out of" in one_line(capsys.readouterr().err)
    for text in rubbish.texts():
        (tmp_path / "found" / "predictions.jsonl").write_bytes(text + b"\n")
        arguments = "predict", place / "model", tmp_path / "in", "--out", tmp_path / "found"
        if text:
            assert run(*arguments, "--resume") == 1
            assert "is not of wtflow predict" in one_line(capsys.readouterr().err)


def test_scores_that_are_of_another_form(tmp_path):
    count = 3
    whole = {"path": np.array(["a"] * count), "kind": np.array(["b"] * count)}
    whole |= {"label": np.zeros(count, bool), "known": np.ones(count, bool)}
    whole |= {"score": np.zeros(count, np.float32), "map": np.zeros((count, 2, 2), np.float32)}
    path = tmp_path / "scores.npz"
    np.savez(path, **whole)
    assert len(figures.load(path).paths) == count
    for name, array in whole.items():
        for other in (array[:2], array[None], array.astype("S4"), np.array(object())):
            np.savez(path, **whole | {name: other})
            with fails("scores.npz: cannot be read"):
                figures.load(path)
    content = io.BytesIO()
    np.save(content, np.zeros(2))
    header = content.getvalue().replace(b"(2,)", b"(2" + b"0" * 12 + b",)")
    for hostile in (b"", b"PK\x05\x06" + bytes(18), content.getvalue(), header, b"\x80\x04."):
        path.write_bytes(hostile)
        with fails("scores.npz: cannot be read"):
            figures.load(path)


def test_hostile_tensors(tmp_path):
    key = features._Key("a", (1,), "b", False, (1, 1), "c", "d")
    for name, content in rubbish.tensors().items():
        path = tmp_path / "weights.safetensors"
        path.write_bytes(content)
        came = quiet(weights.load_state, path)
        assert came <= (name in {"infinite", "bfloat16", "float8"}), name
        assert features._load(path, key) is None, name


def test_hostile_tables(tmp_path):
    path = trees.visa(tmp_path)
    for content in rubbish.TABLES:
        path.write_bytes(content)
        with fails(str(tmp_path)):
            datasets.open_category(tmp_path, "candle", "visa")
    for name in ("/etc/passwd", "../../etc/passwd"):
        path.write_text(f"object,split,label,image,mask\ncandle,train,normal,{name},\n")
        with fails("1cls.csv", "leads out of", "restore the published table"):
            datasets.open_category(tmp_path, "candle", "visa")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n"


def test_maps_that_strangers_drew(tmp_path, capsys, monkeypatch):
    """No program is started for one, and none is read from elsewhere."""
    tools, run_ = tmp_path / "tools", tmp_path / "run"
    tools.mkdir()
    (tools / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path / 'started'}\n")
    (tools / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    private = trees.write(tmp_path / "private.png", np.zeros((8, 8), np.uint8))
    bomb = rubbish.bombs(tmp_path / "bombs")["black.png"]
    monkeypatch.setattr(page, "_packages", lambda: (jinja2, None))
    row = {"path": "gone.png", "score": 0.5, "threshold": 0.1, "decision": "good", "error": None}
    (run_ / "maps").mkdir(parents=True)
    (run_ / "predictions.jsonl").write_text(json.dumps(row | {"map": "maps/x.png"}) + "\n")
    drawn = run_ / "maps" / "x.png"
    for draw, told in (
        (lambda: drawn.write_bytes(EPS), "none of the formats"),
        (lambda: drawn.symlink_to(private), "leads out of"),
        (lambda: drawn.write_bytes(bomb.read_bytes()), "million pixels"),
        (lambda: os.mkfifo(drawn), "not a file"),
        (lambda: trees.write(drawn, np.zeros((8, 8), np.uint8)), "no map of wtflow predict"),
    ):
        drawn.unlink(missing_ok=True)
        draw()
        assert run("report", run_) == 1
        assert told in one_line(capsys.readouterr().err)
    assert not (tmp_path / "started").exists()


def test_what_is_no_file_or_larger_than_any_image(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(3 << 30)
    for path, told in (("pipe.png", "not a file"), ("sparse.png", "more than 2 GiB")):
        with fails(f"{path}: cannot be decoded", told):
            open_image(tmp_path / path)
    with fails("/dev/zero: cannot be decoded", "not a file"):
        open_image(Path("/dev/zero"))


def test_compressed_scores_are_not_read(tmp_path):
    np.savez_compressed(tmp_path / "scores.npz", map=np.zeros(1 << 24, np.float32))
    with fails("scores.npz: cannot be read", "compressed"):
        figures.load(tmp_path / "scores.npz")


def test_a_model_of_other_types_is_none(place, tmp_path, capsys):
    shutil.copytree(place / "model", tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    whole = json.loads(path.read_text())
    for part, name, value in (
        ("training", "seen", [[1]]),
        ("training", "held_out", ["x"]),
        ("config", "false_alarms", 5e-324),
        ("config", "precision", "int8"),
        ("config", "dense", {}),
        ("config", "residual", [1]),
        ("framing", "size", [32768, 32768]),
        ("threshold", "rate", 1e29),
    ):
        changed = whole | {part: whole[part] | {name: value}}
        path.write_text(json.dumps(checksum.sealed(changed)))
        assert run("info", tmp_path / "model") == 1, name
        assert str(path) in one_line(capsys.readouterr().err)
