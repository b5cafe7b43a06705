"""Output of predict: one map per image, no foreign file replaced, rows resumed."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import trees
from PIL import Image
from raising import fails

from wtflow_jax.app import writing
from wtflow_jax.app.writing import Result, Results

COLOURS, THRESHOLD = (0.0, 2.0), 0.5


def result(path, score=0.4):
    """The result of an image of 64 × 64."""
    found = np.linspace(0, 2, 64 * 64, dtype=np.float32).reshape(64, 64)
    return Result(path, None, score, score > THRESHOLD, found, trees.picture(0))


def write(out, results, kind="overlay", resume=False):
    """Write results, and return the writer."""
    opened = Results(out, kind, COLOURS, THRESHOLD, resume)
    assert len(list(opened.write(results))) == len(results)
    return opened


def table(out):
    """Return the rows of the table, which are those of the lines."""
    path = out / "predictions.csv"
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    as_text = [{k: "" if v is None else str(v) for k, v in line.items()} for line in lines]
    assert rows == as_text
    return rows


LONG = hashlib.sha256(f"{'d' * 251}.png".encode()).hexdigest()[:16]


def test_maps_of_images_elsewhere_do_not_meet(tmp_path):
    drawn = {
        "fresh/0.png": "fresh/0.png.png",
        "../fresh/0.png": "__/fresh/0.png.png",
        "/here/fresh/0.png": "_/here/fresh/0.png.png",
        "_/0.png": "___/0.png.png",
        "__/0.png": "____/0.png.png",
        "plain": "plain.png",
        "plain.png/0.png": "plain.png_/0.png.png",
        "plain.png_/0.png": "plain.png__/0.png.png",
        f"{'d' * 251}.png/0.png": f"{'d' * 183}-{LONG}/0.png.png",
    }
    write(tmp_path / "found", [result(name) for name in drawn])
    maps = [row["map"] for row in table(tmp_path / "found")]
    assert maps == [f"maps/{name}" for name in drawn.values()]
    assert all((tmp_path / "found" / name).is_file() for name in maps)


def test_a_map_is_laid_over_the_image_or_16_bits(tmp_path):
    one = result("0.png")
    for kind in ("overlay", "16bit", "none"):
        write(tmp_path / kind, [one], kind)
    assert table(tmp_path / "none")[0]["map"] == ""
    assert not (tmp_path / "none" / "maps").exists()
    values = np.asarray(Image.open(tmp_path / "16bit" / "maps" / "0.png.png"))
    np.testing.assert_allclose(values / 65535 * 2, one.map, atol=2e-5)
    drawn = np.asarray(Image.open(tmp_path / "overlay" / "maps" / "0.png.png"))
    # A strip above it; nothing lies over the lowest pixel, which is grey, and the highest is red.
    assert drawn.shape[1] == 64
    drawn = drawn[-64:].astype(int)
    assert np.ptp(drawn[0, 0]) <= 0.2 * np.ptp(one.pixels[0, 0].astype(int)) + 2
    assert drawn[-1, -1, 0] > drawn[-1, -1, 2] + 50


def test_what_is_there_stays(tmp_path):
    """Foreign tables, and results that must not be resumed."""
    mine = tmp_path / "mine" / "predictions.csv"
    mine.parent.mkdir()
    mine.write_text("mine")
    for resume in (False, True):
        with fails("mine: is not empty; give another --out"):
            write(mine.parent, [], resume=resume)
    assert mine.read_text() == "mine"
    out = tmp_path / "found"
    write(out, [result("0.png")])
    with fails("give --resume, or another --out"):
        write(out, [])
    with fails("rows of another model, whose threshold is 0.5 and not 0.7"):
        Results(out, "none", COLOURS, 0.7, resume=True)
    for text in (b"nothing\n", b"[1]\n", b'{"path": "0.png"}\n', b"\xff\n"):
        (out / "predictions.jsonl").write_bytes(text)
        with fails("was not written by wtflow predict"):
            write(out, [], resume=True)


@pytest.mark.parametrize("cut", [0, 1, 30])
def test_resumed_rows_are_those_of_a_run_that_was_left_alone(cut, tmp_path):
    """One image is named twice, one could not be scored; the last line is cut."""
    results = [
        result("0.png"),
        Result("1.png", "1.png: is text"),
        result("0.png"),
        result("2.png", 1),
    ]
    write(tmp_path / "whole", results)
    lines = (tmp_path / "whole" / "predictions.jsonl").read_bytes().splitlines(keepends=True)
    out = tmp_path / "found"
    write(out, results[:2])
    with (out / "predictions.jsonl").open("ab") as file:
        file.write(lines[2][:cut])
    with (out / "predictions.csv").open("a") as file:
        file.write("0.p")
    resumed = Results(out, "overlay", COLOURS, THRESHOLD, resume=True)
    new = [one for one in results if not resumed.has(Path(one.path))]
    assert new == results[2:]
    assert list(resumed.write(new)) == new
    assert resumed.decisions == {"good": 2, "defective": 1, None: 1}
    for name in ("predictions.jsonl", "predictions.csv"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len(table(out)) == 4


def test_names_of_any_characters_are_a_row(tmp_path):
    names = ["two\nlines.png", "carriage\rreturn.png", 'quotes "and", commas.png', "\udce9.png"]
    write(tmp_path / "found", [result(name) for name in names], "none")
    assert [row["path"] for row in table(tmp_path / "found")] == names


def test_a_directory_is_free_before_anything_is_scored(tmp_path):
    writing.check_free(tmp_path / "new", False)
    assert not (tmp_path / "new").exists()


def test_a_picture_is_as_large_as_the_photograph(tmp_path):
    """Its map has fewer pixels."""
    photograph = tmp_path / "in" / "bad" / "0.png"
    trees.write(photograph, trees.noisy(0, True, 200, 300))
    out = tmp_path / "found"
    opened = Results(out, "overlay", COLOURS, THRESHOLD, base=tmp_path / "in")
    list(opened.write([result(photograph)]))
    (row,) = table(out)
    assert row["map"] == "maps/bad/0.png.png"
    with Image.open(out / row["map"]) as drawn:
        assert drawn.width == 300
        assert 200 < drawn.height < 240


def test_names_are_without_what_all_images_have_in_common(tmp_path):
    for name in ("a/x/0.png", "a/y/0.png", "b/0.png"):
        trees.write(tmp_path / name, trees.noisy(0))
    a = str(tmp_path / "a")
    assert writing.common([a]) == tmp_path / "a"
    assert writing.common([f"{a}/x/0.png", f"{a}/y"]) == tmp_path / "a"
    assert writing.common([f"{a}/x", "elsewhere/*.png"]) is None
    out = tmp_path / "found"
    for base, name in (("a/x", "a/x/0.png"), ("a/y", "a/y/0.png"), ("b", "b/0.png")):
        opened = Results(out, "overlay", COLOURS, THRESHOLD, base != "a/x", tmp_path / base)
        list(opened.write([result(tmp_path / name)]))
    maps = [row["map"] for row in table(out)]
    assert maps[0] == "maps/0.png.png"
    # The same name, of other images, in runs that go on with the first.
    assert len(set(maps)) == 3
    assert all((out / name).is_file() for name in maps)
