"""``python -m wtflow_jax.datasets``."""

import shutil
import subprocess
import sys

import pytest
import trees
from conftest import shared
from raising import fails
from wtflow_jax.data.__main__ import main

from wtflow_jax.data.check import Row, check
from wtflow_jax.data.layouts import LAYOUTS, Counts


@pytest.fixture
def published(monkeypatch):
    """Sets what is published of a layout."""

    def publish(layout, **counts):
        known = LAYOUTS[layout]._replace(published=counts)
        monkeypatch.setitem(LAYOUTS, layout, known)

    return publish


def run(capsys, monkeypatch, *arguments):
    monkeypatch.setenv("COLUMNS", "300")
    status = main(["check", *map(str, arguments)])
    return status, capsys.readouterr()


def test_complete(tmp_path, published, capsys, monkeypatch):
    trees.mvtec_ad(tmp_path, "nut")
    trees.mvtec_3d(tmp_path, "bolt")
    published("mvtec_ad", nut=Counts(4, 2, 2), bolt=Counts(4, 2, 2, 1))
    assert check("mvtec_ad", tmp_path) == [
        Row("nut", "train", 4, 4, "complete", True),
        Row("nut", "test good", 2, 2, "complete", True),
        Row("nut", "test defective", 2, 2, "complete", True),
        Row("bolt", "train", 4, 4, "complete", True),
        Row("bolt", "validation", 1, 1, "complete", True),
        Row("bolt", "test good", 2, 2, "complete", True),
        Row("bolt", "test defective", 2, 2, "complete", True),
    ]
    status, printed = run(capsys, monkeypatch, "mvtec_ad", tmp_path)
    assert status == 0
    assert "│ bolt     │ validation     │     1 │         1 │ complete │" in printed.out
    assert printed.out.splitlines()[-1] == (
        "MVTec AD: complete, as published (Bergmann et al., IJCV 2021)"
    )


def test_counts_that_differ(tmp_path, published, capsys, monkeypatch):
    trees.mvtec_ad(tmp_path, "nut")
    published("mvtec_ad", nut=Counts(6, 1, 2, 3))
    rows = check("mvtec_ad", tmp_path)
    assert [(row.split, row.found, row.published, row.verdict, row.complete) for row in rows] == [
        ("train", 4, 6, "2 missing", False),
        ("validation", 0, 3, "3 missing", False),
        ("test good", 2, 1, "1 too many", False),
        ("test defective", 2, 2, "complete", True),
    ]
    status, printed = run(capsys, monkeypatch, "mvtec_ad", tmp_path)
    assert status == 1
    assert printed.out.splitlines()[-1] == "MVTec AD: not complete: see nut"


def test_missing_extra_and_unreadable_categories(tmp_path, published, capsys, monkeypatch):
    for name in ("nut", "own", "torn"):
        trees.mvtec_ad(tmp_path, name)
    (tmp_path / "torn" / "ground_truth" / "dent" / "000_mask.png").unlink()
    published("mvtec_ad", cog=Counts(5, 6, 7), nut=Counts(4, 2, 2), torn=Counts(4, 2, 2))
    rows = check("mvtec_ad", tmp_path)
    assert rows[0] == Row("cog", "", 0, 18, "missing", False)
    (torn,) = [row for row in rows if row.category == "torn"]
    assert (torn.split, torn.found, torn.published, torn.complete) == ("", None, 8, False)
    assert torn.verdict == "cannot be read"
    assert "000.png: a defective image without mask: add" in torn.problems[0]
    own = [row for row in rows if row.category == "own"]
    assert [(row.found, row.published) for row in own] == [(4, None), (2, None), (2, None)]
    assert {(row.verdict, row.complete) for row in own} == {("extra, not published", True)}
    status, printed = run(capsys, monkeypatch, "mvtec_ad", tmp_path)
    assert status == 1
    assert torn.problems[0] in printed.out.splitlines()
    assert printed.out.splitlines()[-1] == "MVTec AD: not complete: see cog, torn"


def test_an_extra_category_does_no_harm_unless_it_is_broken(tmp_path, published):
    trees.mvtec_ad(tmp_path, "nut")
    own = trees.mvtec_ad(tmp_path, "own")
    published("mvtec_ad", nut=Counts(4, 2, 2))
    assert all(row.complete for row in check("mvtec_ad", tmp_path))
    (own / "train" / "good" / "000.png").write_bytes(b"")
    assert [row.category for row in check("mvtec_ad", tmp_path) if not row.complete] == ["own"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train/good/001.png", "train"),
        ("test/good/001.png", "test good"),
        ("test/dent/001.png", "test defective"),
        ("ground_truth/dent/001_mask.png", "test defective"),
    ],
)
def test_files_that_do_not_open(tmp_path, published, name, split):
    path = trees.mvtec_ad(tmp_path, "nut") / name
    published("mvtec_ad", nut=Counts(4, 2, 2))
    path.write_bytes(b"<html>not found</html>")
    (broken,) = [row for row in check("mvtec_ad", tmp_path) if not row.complete]
    assert broken.split == split
    assert broken.verdict == "cannot be used: 1"
    assert broken.problems[0].startswith(f"{path}: cannot be decoded")
    path.unlink()
    path.symlink_to("gone.png")
    (broken,) = [row for row in check("mvtec_ad", tmp_path) if not row.complete]
    assert broken.verdict == "cannot be used: 1"
    assert broken.problems[0] == f"{path}: no such file: restore it or take it off the list"


def test_one_category_and_a_file_that_is_cut_off(tmp_path, published, capsys, monkeypatch):
    path = trees.mvtec_ad(tmp_path, "nut") / "test" / "good" / "000.png"
    published("mvtec_ad", nut=Counts(4, 2, 2), cog=Counts(1, 1, 1))
    told = []
    rows = check("mvtec_ad", tmp_path, ["nut"], lambda name, total: told.append((name, total)))
    assert all(row.complete for row in rows)
    assert told == [("nut", 8)] * 8
    path.write_bytes(path.read_bytes()[:-40])
    status, printed = run(capsys, monkeypatch, "mvtec_ad", tmp_path, "--categories", "nut")
    assert status == 1
    assert any(line.startswith(f"{path}: cannot be dec") for line in printed.out.splitlines())
    (unknown,) = check("mvtec_ad", tmp_path, ["not"])
    assert unknown == Row("not", "", 0, None, "missing", False)


@pytest.mark.parametrize(
    ("layout", "make", "counts"),
    [
        ("mpdd", trees.mvtec_ad, {"part": Counts(4, 2, 2)}),
        ("mvtec_3d", trees.mvtec_3d, {"part3d": Counts(4, 2, 2, 1)}),
        ("mvtec_loco", trees.mvtec_loco, {"pushpins": Counts(4, 2, 2, 2)}),
        ("visa", trees.visa, {"candle": Counts(3, 2, 2), "pcb1": Counts(3, 2, 2)}),
        ("btad", trees.btad, {name: Counts(3, 1, 2) for name in ("01", "02", "03")}),
        ("mtd", trees.mtd, {"mtd": Counts(10, 2, 10)}),
    ],
)
def test_every_layout(tmp_path, published, layout, make, counts):
    make(tmp_path)
    published(layout, **counts)
    rows = check(layout, tmp_path)
    assert {row.category for row in rows} == set(counts)
    assert all(row.complete for row in rows)


def test_kolektor_with_its_real_counts(tmp_path, capsys, monkeypatch):
    trees.kolektor(tmp_path)
    status, printed = run(capsys, monkeypatch, "kolektor_sdd", tmp_path)
    assert status == 0
    assert printed.out.splitlines()[-1].startswith("KolektorSDD: complete")
    shutil.rmtree(tmp_path / "kos17")
    status, printed = run(capsys, monkeypatch, "kolektor_sdd", tmp_path)
    assert status == 1
    assert printed.out.splitlines()[-1] == "KolektorSDD: not complete: see kolektor_sdd"


def test_folder_has_nothing_to_compare_with(tmp_path, capsys, monkeypatch):
    root = trees.folder(tmp_path / "bolts[red]")
    status, printed = run(capsys, monkeypatch, "folder", root)
    assert status == 0
    assert "bolts[red]" in printed.out
    assert printed.out.splitlines()[-1] == (
        "folder: nothing is published to compare with; found 8 train, 2 test good, 4 test defective"
    )
    (root / "dent" / "a.TIF").write_bytes(b"")
    status, printed = run(capsys, monkeypatch, "folder", root)
    assert status == 1
    assert "bolts[red]/dent/a.TIF: cannot be decoded" in printed.out


def test_nothing_to_read(tmp_path, capsys, monkeypatch):
    with fails("no category"):
        check("mvtec_ad", tmp_path)
    for arguments, message in (
        (("mvtec_ad", tmp_path / "absent"), "nothing there"),
        (("mvtec", tmp_path), "no such layout"),
    ):
        status, printed = run(capsys, monkeypatch, *arguments)
        assert status == 1
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert message in printed.err
        assert printed.err.count("\n") == 1


def test_command_line():
    root = shared("data", "mvtec_ad")
    command = [sys.executable, "-m", "wtflow_jax.data", "check"]
    done = subprocess.run([*command, "mvtec_ad", str(root)], capture_output=True, text=True)
    assert "│ bottle     │ test defective │    63 │        63 │ complete │" in done.stdout
    complete = len(LAYOUTS["mvtec_ad"].categories(root)) == 15
    assert done.returncode == (0 if complete else 1)
    done = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert "NAME ROOT" in done.stdout
    assert done.returncode == 0
