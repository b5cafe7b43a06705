"""The command wtflow: good images in, decisions out."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trees
from conftest import shared
from PIL import Image
from running import one_line, table, wtflow

from wtflow_jax.backbones import BACKBONES
from wtflow_jax.detector import model
from wtflow_jax.support import tensors
from wtflow_jax.velocities import VELOCITIES


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Twelve good images, three of them nested, and a model of them."""
    place = tmp_path_factory.mktemp("wtflow")
    for i in range(12):
        trees.write(place / "good" / ("more" if i < 3 else "") / f"{i:02d}.png", trees.noisy(i))
    for i in range(4):
        trees.write(place / "new" / f"good{i}.png", trees.noisy(100 + i))
        trees.write(place / "new" / f"bad{i}.png", trees.noisy(200 + i, defect=True))
    assert wtflow("fit", place / "good", "--out", place / "model", "--image-size", "64") == 0
    return place


def test_from_good_images_to_decisions_in_two_commands(place, tmp_path, capsys):
    assert wtflow("predict", place / "model", place / "new", "--out", tmp_path / "found") == 0
    assert "8 images, " in capsys.readouterr().out
    rows = table(tmp_path / "found")
    assert list(rows[0]) == ["path", "score", "threshold", "decision", "map", "error"]
    assert [row["path"] for row in rows] == [str(p) for p in sorted((place / "new").iterdir())]
    lines = (tmp_path / "found" / "predictions.jsonl").read_text().splitlines()
    for row, line in zip(rows, map(json.loads, lines), strict=True):
        assert {k: str(v) if v is not None else "" for k, v in line.items()} == row
        bad = "bad" in row["path"]
        assert (float(row["score"]) > float(row["threshold"])) == (row["decision"] == "defective")
        if bad:
            assert row["decision"] == "defective"
        with Image.open(tmp_path / "found" / row["map"]) as picture:
            # The verdict is in a strip above.
            assert (picture.width, picture.mode) == (64, "RGB")
            assert 64 < picture.height < 96


def test_a_threshold_is_moved_without_fitting_again(place, tmp_path, capsys):
    (score,) = {row["score"] for row in table(_found(place, tmp_path / "usual"))[:1]}
    lower = table(_found(place, tmp_path / "lower", "--threshold", str(float(score) - 1e-3)))
    assert lower[0]["decision"] == "defective"
    assert table(_found(place, tmp_path / "higher", "--threshold", "1e3"))[0]["decision"] == "good"
    _found(place, tmp_path / "rate", "--false-alarms", "0.5")
    both = "--threshold", "1", "--false-alarms", "0.5"
    assert wtflow("predict", place / "model", place / "new", "--out", tmp_path / "no", *both) == 1
    assert "give --threshold or --false-alarms, one of them" in capsys.readouterr().err


def _found(place, out, *flags):
    assert wtflow("predict", place / "model", place / "new", "--out", out, *flags) == 0
    return out


def test_a_bad_image_is_told_in_its_row_and_the_rest_go_on(place, tmp_path, capsys):
    for name in ("a.png", "c.png"):
        trees.write(tmp_path / "new" / name, trees.noisy(300))
    (tmp_path / "new" / "b.png").write_bytes(b"rubbish")
    assert wtflow("predict", place / "model", tmp_path / "new", "--out", tmp_path / "found") == 3
    rows = table(tmp_path / "found")
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert rows[1]["error"].startswith(f"{tmp_path / 'new' / 'b.png'}: cannot be decoded")
    assert (rows[1]["score"], rows[1]["decision"], rows[1]["map"]) == ("", "", "")
    assert "3 images, " in (told := capsys.readouterr().out)
    assert "1 not scored" in told
    assert f"not scored: {rows[1]['error']}" in told.splitlines()
    assert "next: wtflow report" in told
    assert (
        wtflow("predict", place / "model", tmp_path / "new" / "b.png", "--out", tmp_path / "b") == 3
    )
    assert "next: " not in capsys.readouterr().out


def test_interrupted_results_go_on_after_the_last_whole_row(place, tmp_path):
    found = tmp_path / "found"
    assert wtflow("predict", place / "model", place / "new", "--out", found) == 0
    lines = (found / "predictions.jsonl").read_text().splitlines(keepends=True)
    (found / "predictions.jsonl").write_text("".join(lines[:3]) + lines[3][:20])
    again = "predict", place / "model", place / "new", "--out", found
    assert wtflow(*again) == 1
    assert wtflow(*again, "--resume") == 0
    for row, line in zip(table(found), map(json.loads, lines), strict=True):
        assert row["path"] == line["path"]
        # In a batch with other images the last digits may differ.
        assert float(row["score"]) == pytest.approx(line["score"], rel=1e-5)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("fit --out m", "no images: give directories, files, patterns, or -"),
        ("fit {new}/good0.png --out m", "1 good images: too few to hold some out"),
        ("fit nowhere --out m", "nowhere: no such file or directory"),
        ("fit {new} --out m --false-alarms 0", "--false-alarms 0: give at least"),
        ("fit {new} --out m --seed -1", "--seed -1: give at least 0 and at most 2147483647"),
        (
            "fit {new} --out m --image-size 65",
            "image size '65': efficientnet_lite0 takes multiples of 32",
        ),
        ("fit {new} --out m --overlap 600", "--overlap 600: give"),
        ("fit {new} --out m --velocity nope", "--velocity nope: no such choice; take one of "),
        ("fit {new} --out m --backbone nope", "--backbone nope: no such choice; take one of eff"),
        ("fit {new} --out m --weights none.pth", "none.pth: no such weights file"),
        ("fit {new} --out {new}", "{new}: holds other files; give another directory"),
        ("fit {new} --out {new}/bad0.png", "{new}/bad0.png: is a file; give a directory"),
        ("predict nowhere {new} --out f", "nowhere: is not a model"),
        ("predict {model} nowhere --out f", "nowhere: no such file"),
        ("predict {model} --out f", "no images: give directories, files, patterns, or -"),
        ("predict {model} {new} --out {new}", "{new}: is not empty; give another --out"),
        ("predict {model} {new} --out {new} --resume", "{new}: is not empty; give another --out"),
        ("evaluate {model} {new} --out f --data nope", "--data nope: no such choice; take one of"),
        ("report {new}", "{new}: is not a run, results.json is missing"),
        ("report nowhere", "nowhere: is not a run"),
        ("report {new} --pictures 0", "--pictures 0: give at least 1"),
        ("info {new}", "{new}: is not a model"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    command, message, place, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    names = {"model": place / "model", "new": place / "new"}
    assert wtflow(*command.format(**names).split()) == 1
    assert one_line(capsys.readouterr().err).startswith(f"error: {message.format(**names)}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command",
    ["nope", "fit {new} --out m --preset nope", "fit {new} --out m --nope", "fit {new}", "predict"],
)
def test_flags_that_do_not_exist_end_in_2(command, place, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        wtflow(*command.format(new=place / "new").split())
    assert ended.value.code == 2
    assert "--help" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_help_of_fit_lists_the_parts_that_there_are(capsys, monkeypatch):
    monkeypatch.setitem(VELOCITIES._entries, "my_own", VELOCITIES["exact"])
    with pytest.raises(SystemExit):
        wtflow("fit", "--help")
    told = capsys.readouterr().out
    for parts in (VELOCITIES, BACKBONES):
        assert "{" + ",".join(parts) + "}" in "".join(told.split())


def test_help_imports_no_part():
    code = "import sys; from wtflow_jax.app.commands import main\ntry: main(['--help'])\n"
    code += "except SystemExit: assert 'jax' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_model_is_told_of(place, capsys):
    assert wtflow("info", place / "model") == 0
    told = capsys.readouterr().out
    assert "12 good images, scaled into 64x64 pixels" in told
    # A rate of 1 % takes 99 images: the best that twelve can promise is 1/13.
    assert "expected false alarms are 7.7%" in told
    assert "1.0% takes 99 images" in told


def test_a_damaged_model_is_one_line(place, tmp_path, capsys):
    whole = (place / "model" / model.FILE).read_bytes()
    changed = {
        "cut": whole[:-8],
        "a bit": whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:],
        "empty": b"",
        "text": b"no model",
        "another choice": whole.replace(b"whiten", b"layer_", 1),
    }
    path = tmp_path / "model" / model.FILE
    path.parent.mkdir()
    for content in changed.values():
        assert content != whole
        path.write_bytes(content)
        assert wtflow("predict", path.parent, place / "new", "--out", tmp_path / "f") == 1
        told = one_line(capsys.readouterr().err)
        assert told.startswith(f"error: {path}: cannot be read (")
        assert told.endswith("); fit the model again")
    assert not (tmp_path / "f").exists()


def test_a_model_of_another_kind_is_one_line(place, tmp_path, capsys):
    """A complete file, from another version or edited by somebody."""
    arrays, about = tensors.load(place / "model" / model.FILE)
    path = tmp_path / "model" / model.FILE
    for part, said in (
        ({"format": 99}, "has format 99"),
        ({"config": about["config"] | {"wt": "nope"}}, "--wt nope: no such choice"),
        ({"config": about["config"] | {"steps_det": 10**9}}, "--steps-det 1000000000: give"),
        ({"framing": {}}, "size"),
        ({"threshold": {"value": 1.0}}, "rate"),
    ):
        tensors.save(path, arrays, about | part)
        assert wtflow("predict", path.parent, place / "new", "--out", tmp_path / "f") == 1, part
        told = one_line(capsys.readouterr().err)
        assert str(path) in told
        assert said in told
    assert not (tmp_path / "f").exists()


def test_more_features_than_memory_are_refused(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("wtflow_jax.app.fit.memory", lambda: 2**12)
    assert wtflow("fit", place / "good", "--out", tmp_path / "m", "--image-size", "64") == 1
    assert "12 images have about 0.0 GiB of features" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@pytest.mark.slow
def test_bottle_as_a_plain_folder(tmp_path, capsys):
    bottle = shared("data", "mvtec_ad", "bottle")
    assert wtflow("fit", bottle / "train" / "good", "--out", tmp_path / "model") == 0
    told = capsys.readouterr().out
    threshold = float(re.search(r"defective above a score of ([0-9.]+): ", told)[1])
    assert threshold == pytest.approx(0.8708, abs=1e-3)
    assert "expected false alarms are 1.0% of good parts like these" in told
    # Two photographs of one bottle.
    assert "taken for one part, for instance: " in told
    assert told.count("good/069") == told.count("good/070") == 1
    assert wtflow("predict", tmp_path / "model", bottle / "test", "--out", tmp_path / "found") == 0
    found = [row["decision"] == "defective" for row in table(tmp_path / "found")]
    good = ["good" in Path(row["path"]).parts for row in table(tmp_path / "found")]
    assert good.count(True) == 20
    assert (sum(found), len(found)) == (63, 83)
    assert not any(called and is_good for called, is_good in zip(found, good, strict=True))


@pytest.mark.long
def test_copies_are_no_evidence(place, tmp_path, capsys):
    """A copied image is not scored by a model fitted on its copy, and counts once."""
    assert wtflow("info", place / "model") == 0
    alone = capsys.readouterr().out.splitlines()[1]
    for i in range(3):
        shutil.copytree(place / "good", tmp_path / "good" / str(i))
    flags = "--out", tmp_path / "model", "--image-size", "64", "--false-alarms", "0.03"
    assert wtflow("fit", tmp_path / "good", *flags) == 0
    told = capsys.readouterr().out
    assert "12 good images and 24 copies" in told
    assert "expected false alarms are 7.7%" in told
    # 1/33 is more than 3 %.
    assert "takes 33 images" in told
    # About the threshold of the images without their copies, nothing near the lowest score.
    assert float(told.split("score of ")[1][:6]) > 0.9 * float(alone.split("score of ")[1][:6])
    same = tmp_path / "same"
    for i in range(3):
        trees.write(same / f"{i}.png", trees.noisy(0))
    assert wtflow("fit", same, "--out", tmp_path / "m", "--image-size", "64") == 1
    assert "3 good images show 1 parts" in capsys.readouterr().err


@pytest.mark.long
def test_parts_and_what_is_left_out_are_told(place, tmp_path, capsys):
    for part in range(8):
        for take in range(2):
            pixels = trees.noisy(10 * part + take, defect=part == 7)
            trees.write(tmp_path / "good" / f"p{part}" / f"{take}.png", pixels)
    flags = "--out", tmp_path / "model", "--image-size", "64", "--false-alarms", "0.2"
    asked = "--group", "folder", "--contamination", "0.1"
    assert wtflow("fit", tmp_path / "good", *flags, *asked) == 0
    told = capsys.readouterr().out
    assert "14 good images of 7 parts, scaled" in told
    assert "expected false alarms are 12.5% of good parts like these, by held-out scores" in told
    assert "1 of 8 parts were left out as the strangest: if they are good, " in told
    assert "expected false alarms are 22.2%" in told
    assert f"left out: {tmp_path}/good/p7/" in told
    pair = f"{tmp_path}/good/p0/0.png, {tmp_path}/good/p0/1.png"
    assert f"taken for one part, for instance: {pair}" in told
    assert wtflow("info", tmp_path / "model") == 0
    assert capsys.readouterr().out in told
    assert wtflow("fit", tmp_path / "good", *flags, "--group", "q") == 1
    assert "0.png: --group q names no part of this path; give" in capsys.readouterr().err


def test_resume_tells_of_all_rows_and_refuses_another_model(place, tmp_path, capsys):
    trees.write(tmp_path / "new" / "a.png", trees.noisy(300))
    (tmp_path / "new" / "b.png").write_bytes(b"rubbish")
    arguments = "predict", place / "model", tmp_path / "new", "--out", tmp_path / "new" / "found"
    assert wtflow(*arguments) == 3
    # Its own pictures lie below the given directory and must not be scored.
    assert wtflow(*arguments, "--resume") == 3
    assert "2 images, " in capsys.readouterr().out.splitlines()[-1]
    loaded = model.load(place / "model")
    higher = loaded.threshold._replace(value=loaded.threshold.value + 0.01)
    replace(loaded, threshold=higher).save(tmp_path / "other")
    assert wtflow(arguments[0], tmp_path / "other", *arguments[2:], "--resume") == 1
    assert "has rows of another model" in capsys.readouterr().err


def test_nothing_on_standard_input(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    assert wtflow("predict", place / "model", "-", "--out", tmp_path / "found") == 1
    assert "standard input: no path in it" in capsys.readouterr().err
    assert not (tmp_path / "found").exists()


@pytest.mark.slow
def test_three_good_images_are_enough_and_two_are_not(place, tmp_path, capsys):
    for i in range(3):
        trees.write(tmp_path / "three" / f"{i}.png", trees.noisy(i))
    for i in range(2):
        trees.write(tmp_path / "two" / f"{i}.png", trees.noisy(i))
    flags = "--image-size", "64", "--out"
    assert wtflow("fit", tmp_path / "three", *flags, tmp_path / "m3") == 0
    told = capsys.readouterr().out
    assert "expected false alarms are 25.0%" in told
    assert "in place of" not in told
    assert wtflow("fit", tmp_path / "three", *flags, tmp_path / "m3") == 0
    assert "m3, in place of the model that was there;" in capsys.readouterr().out
    assert wtflow("fit", tmp_path / "two", *flags, tmp_path / "m2") == 1
    assert "2 good images: too few" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("home", ["/proc/nowhere", None])
def test_a_home_that_cannot_be_written(place, tmp_path, home):
    environment = os.environ | {"HOME": home or ""}
    del environment["JAX_COMPILATION_CACHE_DIR"]
    code = "import pathlib, sys; from wtflow_jax import __main__\nsys.exit(__main__.main())"
    if home is None:
        code = (
            "import pathlib\n"
            "def home(): raise RuntimeError('Could not determine home directory.')\n"
            f"pathlib.Path.home = home\n{code}"
        )
    command = [sys.executable, "-c", code, "info", place / "model"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "defective above a score of" in done.stdout


def test_pictures_beside_results_are_predicted(place, tmp_path, monkeypatch):
    """But not the files that it has written."""
    for i in range(2):
        trees.write(tmp_path / f"{i}.png", trees.noisy(60 + i))
    monkeypatch.chdir(tmp_path)
    assert wtflow("predict", place / "model", "1.png", "--out", "o") == 0
    shutil.copy("0.png", "o/2.png")
    assert wtflow("predict", place / "model", "0.png", "o", "--out", "o", "--resume") == 0
    assert [Path(row["path"]).name for row in table(tmp_path / "o")] == ["1.png", "0.png", "2.png"]


def test_a_report_of_both_kinds_of_runs(place, tmp_path):
    root = tmp_path / "labelled"
    for i in range(2):
        trees.write(root / "good" / f"{i}.png", trees.noisy(100 + i))
        trees.write(root / "bright" / f"{i}.png", trees.noisy(200 + i, defect=True))
    assert wtflow("evaluate", place / "model", root, "--out", tmp_path / "measured") == 0
    assert wtflow("predict", place / "model", root, "--out", tmp_path / "found") == 0
    for name, words in (
        ("measured", "Evaluation on 4 images of "),
        ("found", "Predictions of 4 images"),
    ):
        assert wtflow("report", tmp_path / name) == 0
        assert words in (tmp_path / name / "report.html").read_text()


def test_another_camera_is_said_in_one_line(place, tmp_path, capsys):
    for i in range(6):
        dark = (0.6 * trees.noisy(400 + i)).astype(np.uint8)
        trees.write(tmp_path / "dark" / "good" / f"{i}.png", dark)
    for command in ("predict", "evaluate"):
        out = tmp_path / command
        assert wtflow(command, place / "model", tmp_path / "dark", "--out", out) == 0
        (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("warning: ")]
        assert line.startswith("warning: the last 6 images are unlike those the model was fitted")
        assert "darker (brightness " in line
        again = "predict", place / "model", place / "new", "--out", tmp_path / f"{command} new"
        assert wtflow(*again) == 0
        assert "warning" not in capsys.readouterr().err
