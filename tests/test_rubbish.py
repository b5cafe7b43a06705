"""Malformed input to each command: a correct result or one error line, no partial files."""

import io
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import rubbish
import trees
from running import one_line, table, wtflow

from wtflow_jax.app.datasets import main as check
from wtflow_jax.detector import model


def test_inverted_masks_are_noted(tmp_path, small_model, capsys):
    root = tmp_path / "in"
    for i in range(2):
        trees.write(root / "good" / f"{i}.png", trees.noisy(50 + i))
    for i in range(3):
        image, mask = trees.defect(i)
        trees.write(root / "dent" / f"{i}.png", image)
        # One large defect alone causes no warning.
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


def test_all_rubbish_in_one_folder_is_a_row_each(small_model, tmp_path, capsys):
    found = tmp_path / "found"
    bad = rubbish.undecodable(tmp_path / "in" / "a") | rubbish.frames(tmp_path / "in" / "b")
    bad |= rubbish.bombs(tmp_path / "in" / "c")
    good = rubbish.odd(tmp_path / "in" / "d")
    rubbish.links(tmp_path / "in" / "e")
    bad |= {name: tmp_path / "in" / "e" / name for name in ("gone.png", "self.png")}
    bad.pop("a.gif")  # .gif is not an image suffix here.
    assert wtflow("predict", small_model, tmp_path / "in", "--out", found) == 3
    rows = table(found)
    assert len(rows) == len(bad) + len(good) + 2
    assert {row["path"] for row in rows if row["error"]} == set(map(str, bad.values()))
    assert all("\n" not in row["error"] for row in rows)
    assert f"{len(bad)} not scored" in capsys.readouterr().out
    assert not list(found.rglob("*.part"))


@pytest.mark.slow
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


@pytest.mark.long
def test_a_directory_that_is_no_utf_8(small_model, tmp_path):
    """In a new process with strict output encoding."""
    root = tmp_path / os.fsdecode(b"caf\xe9\x1b[0m")
    for kind in ("good", os.fsdecode(b"d\xe9faut")):
        for i in range(2):
            trees.write(root / kind / f"{i}.png", trees.noisy(80 + i))
    code = """
import sys
from wtflow_jax.app.commands import main
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
    assert "4 good images show 1 parts" in one_line(capsys.readouterr().err)
    (tmp_path / "black" / "3.png").write_bytes(b"")
    assert wtflow("fit", tmp_path / "black", "--out", tmp_path / "no", *size, *flags) == 1
    assert "3.png: cannot be decoded" in one_line(capsys.readouterr().err)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("name", rubbish.tensors())
def test_files_that_are_tensors_by_name(name, small_model, tmp_path, capsys):
    """As a model, and as weights of a backbone."""
    path = tmp_path / "model" / model.FILE
    path.parent.mkdir()
    path.write_bytes(rubbish.tensors()[name])
    weights = "--backbone", "resnet18", "--weights", path
    good = small_model.parent / "good"
    for command in (
        ("info", path.parent),
        ("predict", path.parent, good, "--out", tmp_path / "out"),
        ("fit", good, "--out", tmp_path / "out", *weights),
    ):
        assert wtflow(*command) == 1
        assert str(path) in one_line(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_list_of_paths_of_which_some_are_gone(small_model, tmp_path, monkeypatch, capsys):
    image = trees.write(tmp_path / "a.png", trees.noisy(50))
    given = f"{image}\n\n{tmp_path}/gone.png\r\n{tmp_path}\n{image}".encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
    assert wtflow("predict", small_model, "-", "--out", tmp_path / "found") == 3
    rows = table(tmp_path / "found")
    assert [bool(row["error"]) for row in rows] == [False, True, True, False]
    assert "gone.png: no such file" in rows[1]["error"]
