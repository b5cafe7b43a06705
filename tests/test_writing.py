"""What predict and others write: maps of their own, nothing of others replaced, rows resumed."""

import hashlib
import shutil
from pathlib import Path

import pytest
import trees
from running import one_line, table, wtflow


@pytest.fixture
def new(tmp_path):
    """A good image and two defective ones."""
    for i in range(3):
        trees.write(tmp_path / "new" / f"{i}.png", trees.noisy(60 + i, defect=i > 0))
    return tmp_path / "new"


LONG = hashlib.sha256(f"{'d' * 251}.png".encode()).hexdigest()[:16]


def test_maps_of_images_elsewhere_do_not_meet(small_model, tmp_path, monkeypatch):
    here = tmp_path / "work"
    drawn = {
        "fresh/0.png": "fresh/0.png.png",
        "../fresh/0.png": "__/fresh/0.png.png",
        f"{here}/fresh/0.png": f"_{here}/fresh/0.png.png",
        "_/0.png": "___/0.png.png",
        "__/0.png": "____/0.png.png",
        "plain": "plain.png",
        "plain.png/0.png": "plain.png_/0.png.png",
        "plain.png_/0.png": "plain.png__/0.png.png",
        f"{'d' * 251}.png/0.png": f"{'d' * 183}-{LONG}/0.png.png",
    }
    trees.write(here / "some.png", trees.noisy(1))
    for name in drawn:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(here / "some.png", here / name)
    monkeypatch.chdir(here)
    assert wtflow("predict", small_model, *drawn, "--out", tmp_path / "found") == 0
    maps = [row["map"] for row in table(tmp_path / "found")]
    assert maps == [f"maps/{name}" for name in drawn.values()]
    assert all((tmp_path / "found" / name).is_file() for name in maps)


def test_what_is_there_stays(small_model, new, tmp_path, monkeypatch, capsys):
    """Tables that are not of predict, files that are no page, and where a model cannot be."""
    table_ = tmp_path / "mine" / "predictions.csv"
    table_.parent.mkdir()
    table_.write_text("mine")
    images = new / "0.png", "--out", tmp_path / "mine"
    for flags in ((), ("--resume",)):
        assert wtflow("predict", small_model, *images, *flags) == 1
        assert one_line(capsys.readouterr().err).endswith("is not empty; give another --out")
    assert table_.read_text() == "mine"
    found = tmp_path / "found"
    assert wtflow("predict", small_model, images[0], "--out", found) == 0
    assert wtflow("predict", small_model, images[0], "--out", found) == 1
    assert "give --resume, or another --out" in one_line(capsys.readouterr().err)
    for _ in range(2):
        assert wtflow("report", found) == 0
    assert wtflow("report", found, "--out", table_) == 1
    assert "is there already, and is no page" in one_line(capsys.readouterr().err)
    assert table_.read_text() == "mine"
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert wtflow("fit", new, "--out", ".") == 1
    assert ".: is where this is run" in one_line(capsys.readouterr().err)


def test_an_image_named_twice_is_two_rows_resumed_or_not(small_model, new, tmp_path):
    image = new / "0.png"
    arguments = "predict", small_model, image, new, "--out", tmp_path / "found"
    assert wtflow(*arguments) == 0
    path = tmp_path / "found" / "predictions.jsonl"
    whole = path.read_bytes()
    assert whole.count(f'"path": "{image}"'.encode()) == 2
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]))
    assert wtflow(*arguments, "--resume") == 0
    assert path.read_bytes() == whole


def test_pictures_beside_results_are_predicted(small_model, new, tmp_path, monkeypatch):
    shutil.copy(new / "0.png", tmp_path / "0.png")
    monkeypatch.chdir(tmp_path)
    assert wtflow("predict", small_model, new / "1.png", "--out", "o") == 0
    shutil.copy("0.png", "o/2.png")
    assert wtflow("predict", small_model, "0.png", "o", "--out", "o", "--resume") == 0
    assert [Path(row["path"]).name for row in table(tmp_path / "o")] == [
        "1.png",
        "0.png",
        "2.png",
    ]
