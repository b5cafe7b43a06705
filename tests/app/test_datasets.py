"""``python -m wtflow_jax.datasets check``; ``prepare`` is with what it calls, in test_tfds.py."""

import os
import shutil
import subprocess
import sys

import rubbish
import trees
from conftest import shared

from wtflow_jax.app.datasets import main
from wtflow_jax.data import LAYOUTS


def run(capsys, monkeypatch, *arguments):
    monkeypatch.setenv("COLUMNS", "300")
    status = main(["check", *map(str, arguments)])
    return status, capsys.readouterr()


def test_a_data_set_as_published(tmp_path, capsys, monkeypatch):
    trees.kolektor(tmp_path)
    status, printed = run(capsys, monkeypatch, "kolektor_sdd", tmp_path)
    assert status == 0
    assert "│ kolektor_sdd │ test defective │    52 │        52 │ complete │" in printed.out
    assert printed.out.splitlines()[-1] == (
        "KolektorSDD: complete, as published "
        "(Tabernik et al., Journal of Intelligent Manufacturing 2020)"
    )
    assert "kolektor_sdd" in printed.err
    assert "399/399" in printed.err
    shutil.rmtree(tmp_path / "kos17")
    status, printed = run(capsys, monkeypatch, "kolektor_sdd", tmp_path)
    assert status == 1
    assert printed.out.splitlines()[-1] == "KolektorSDD: not complete: see kolektor_sdd"


def test_missing_categories_and_damaged_files(tmp_path, capsys, monkeypatch):
    path = trees.mvtec_ad(tmp_path, "bottle") / "test" / "good" / "000.png"
    path.write_bytes(path.read_bytes()[:-40])
    status, printed = run(
        capsys, monkeypatch, "mvtec_ad", tmp_path, "--categories", "bottle", "pill"
    )
    assert status == 1
    assert "│ pill     │                │     0 │       434 │ missing" in printed.out
    assert any(line.startswith(f"{path}: cannot be decoded") for line in printed.out.splitlines())
    assert printed.out.splitlines()[-1] == "MVTec AD: not complete: see bottle, pill"


def test_folder_has_nothing_to_compare_with(tmp_path, capsys, monkeypatch):
    root = trees.folder(tmp_path / "bolts[red]")
    status, printed = run(capsys, monkeypatch, "folder", root)
    assert status == 0
    assert "bolts[red]" in printed.out
    assert printed.out.splitlines()[-1] == (
        "folder: no published counts to compare with; found 8 train, 2 test good, 4 test defective"
    )
    (root / "dent" / "a.TIF").write_bytes(b"")
    status, printed = run(capsys, monkeypatch, "folder", root)
    assert status == 1
    assert "bolts[red]/dent/a.TIF: cannot be decoded" in printed.out


def test_a_data_set_of_ones_own_is_one_file(tmp_path):
    """In a new process, which has not loaded any table of parts yet."""
    (tmp_path / "dents.py").write_text(OWN)
    trees.mvtec_ad(tmp_path / "tree", "bottle")
    command = [sys.executable, "-m", "wtflow_jax.datasets", "check", "dents", tmp_path / "tree"]
    environment = {**os.environ, "WTFLOW_PARTS": str(tmp_path / "dents.py")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout.splitlines()[-1] == "Dents: complete, as published (my own)", done.stderr


OWN = """
from functools import partial
from wtflow_jax.data import LAYOUTS, Category, Counts, Layout, files

def read(root, name):
    train = files.good(files.images(root / name / "train" / "good", "training images"))
    good = files.good(files.images(root / name / "test" / "good", "test images"))
    dents = files.images(root / name / "test" / "dent", "test images")
    masks = root / name / "ground_truth" / "dent"
    return Category(name, train, (*good, *files.defective(dents, "dent", masks, suffix="_mask")))

looks = dict(is_category=files.has_split, looks="PRODUCT/train and PRODUCT/test")
categories = partial(files.categories_in, **looks)
LAYOUTS.add("dents")(Layout("Dents", "my own", categories, read, {"bottle": Counts(4, 2, 2)}))
"""


def test_nothing_to_read(tmp_path, capsys, monkeypatch):
    for arguments, message in (
        (("mvtec_ad", tmp_path / "absent"), "nothing there"),
        (("mvtec", tmp_path), "no such choice"),
    ):
        status, printed = run(capsys, monkeypatch, *arguments)
        assert status == 1
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert message in printed.err
        assert printed.err.count("\n") == 1


def test_names_of_any_kind_are_one_line(tmp_path, capsys, monkeypatch):
    rubbish.names(tmp_path / "in" / "good", trees.noisy(77))
    (tmp_path / "in" / "good" / "two\nlines.png").write_bytes(b"")
    status, printed = run(capsys, monkeypatch, "folder", tmp_path / "in")
    assert status == 1
    assert "two\\nlines.png: cannot be decoded" in printed.out


def test_command_line():
    root = shared("data", "mvtec_ad")
    command = [sys.executable, "-m", "wtflow_jax.datasets", "check"]
    done = subprocess.run([*command, "mvtec_ad", str(root)], capture_output=True, text=True)
    assert "│ bottle     │ test defective │    63 │        63 │ complete │" in done.stdout
    complete = len(LAYOUTS["mvtec_ad"].categories(root)) == 15
    assert done.returncode == (0 if complete else 1)
    done = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert "NAME ROOT" in done.stdout
    assert done.returncode == 0
