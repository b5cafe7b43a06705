"""The command wtflow: good images in, decisions out."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trees
from conftest import shared
from PIL import Image
from running import table, wtflow
from sklearn.metrics import roc_auc_score

from wtflow_jax import backbones
from wtflow_jax.app import fitting, predicting
from wtflow_jax.detector import model
from wtflow_jax.lab import scored
from wtflow_jax.support import checksum


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
            assert (picture.size, picture.mode) == ((64, 64), "RGB")


def test_what_is_loaded_scores_bit_for_bit_as_what_was_fitted(place, tmp_path):
    good = sorted((place / "good").rglob("*.png"))
    config, framing = fitting.settings(good, image_size="64")
    backbone = backbones.load(config.backbone, cache=tmp_path)
    fitted = fitting.fit(good, backbone, framing, config)
    model.save(fitted, tmp_path / "model")
    paths = sorted((place / "new").iterdir())
    pair = fitted, model.load(tmp_path / "model")
    first, second = (list(predicting.predict(m, paths)) for m in pair)
    for a, b in zip(first, second, strict=True):
        assert a.score == b.score
        np.testing.assert_array_equal(a.map, b.map)


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
        # Among other images of a batch the last digits may be others.
        assert float(row["score"]) == pytest.approx(line["score"], rel=1e-5)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["fit", "{place}/new/good0.png", "--out", "m"],
            "error: 1 good images: too few to score each",
        ),
        (["fit", "nowhere", "--out", "m"], "error: nowhere: no such file or directory"),
        (["fit", "{place}/new", "--out", "m", "--false-alarms", "0"], "error: --false-alarms 0: "),
        (["fit", "{place}/new", "--out", "m", "--image-size", "65"], "error: image size '65': "),
        (["fit", "{place}/new", "--out", "m", "--overlap", "600"], "error: --overlap 600: give"),
        (["fit", "{place}/new", "--out", "{place}/new"], "error: {place}/new: holds other files"),
        (["predict", "nowhere", "{place}/new", "--out", "f"], "error: nowhere: is no model"),
        (["predict", "{place}/model", "nowhere", "--out", "f"], "error: nowhere: no such file"),
        (["predict", "{place}/model", "{place}/new", "--out", "{place}"], "error: {place}: is not"),
        (["info", "{place}/new"], "error: {place}/new: is no model"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(
    command, message, place, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert wtflow(*(part.format(place=place) for part in command)) == 1
    told = capsys.readouterr().err
    assert told.splitlines()[-1].startswith(message.format(place=place))
    assert not list(tmp_path.iterdir())


def test_a_model_is_told_of(place, capsys):
    assert wtflow("info", place / "model") == 0
    told = capsys.readouterr().out
    assert "12 good images, scaled into 64x64 pixels" in told
    # A rate of 1 % takes 99 images: the best that twelve can promise is 1/13.
    assert "7.7% are expected" in told
    assert "it takes 99 images" in told


def test_a_damaged_model_is_one_line(place, tmp_path, capsys):
    for name, damage in (
        ("model.json", lambda text: text[:-30]),
        ("model.json", lambda text: text.replace(b'"format": 2', b'"format": 99')),
        ("model.json", lambda text: text.replace(b'"whiten"', b'"batch_norm"')),
        ("model.json", lambda text: text.replace(b'"value": 0', b'"value": 1')),
        ("model.safetensors", lambda text: text[:-8]),
        ("model.safetensors", lambda text: text[:-8] + bytes([text[-8] ^ 1]) + text[-7:]),
    ):
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        shutil.copytree(place / "model", tmp_path / "model")
        path = tmp_path / "model" / name
        whole = path.read_bytes()
        path.write_bytes(damage(whole))
        assert path.read_bytes() != whole
        assert wtflow("predict", tmp_path / "model", place / "new", "--out", tmp_path / "f") == 1
        told = capsys.readouterr().err.splitlines()[-1]
        assert told.startswith(f"error: {path}")


def test_more_features_than_memory_are_refused(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("wtflow_jax.support.memory.limit", lambda: 2**12)
    assert wtflow("fit", place / "good", "--out", tmp_path / "m", "--image-size", "64") == 1
    assert "12 images have about 0.0 GiB of features" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_an_edited_model_is_one_line(place, tmp_path, capsys):
    shutil.copytree(place / "model", tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    description = json.loads(path.read_text())
    description["config"]["velocity"] = "unet"
    path.write_text(json.dumps(description))
    assert wtflow("info", tmp_path / "model") == 1
    told = capsys.readouterr().err
    assert told == f"error: {path}: is not what was written, damaged or edited; fit it again\n"
    # By somebody who knows how.
    path.write_text(json.dumps(checksum.sealed(description)))
    assert wtflow("predict", tmp_path / "model", place / "new", "--out", tmp_path / "f") == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: the model's unet velocity does not fit its tensors")
    assert not (tmp_path / "f").exists()
    # Nor so that scoring would never end.
    description["config"] |= {"velocity": "exact", "steps_det": 10**9}
    path.write_text(json.dumps(checksum.sealed(description)))
    assert wtflow("info", tmp_path / "model") == 1
    told = capsys.readouterr().err
    assert "--steps-det 1000000000: give at least 1 and at most 10000" in told


def test_evaluate_measures_what_it_was_not_fitted_on(place, tmp_path, capsys):
    root = tmp_path / "labelled"
    mask = np.zeros((trees.SIDE, trees.SIDE), bool)
    mask[10:40, 20:50] = True
    for i in range(3):
        trees.write(root / "good" / f"new{i}.png", trees.noisy(100 + i))
        trees.write(root / "bright" / f"{i}.png", trees.noisy(200 + i, defect=True))
        trees.write(root / "masks" / "bright" / f"{i}.png", mask)
    trees.write(root / "unmarked" / "0.png", trees.noisy(204, defect=True))
    # Under another name it is the same image still.
    shutil.copy(place / "good" / "07.png", root / "good" / "seen.png")
    out = tmp_path / "measured"
    assert wtflow("evaluate", place / "model", root, "--out", out) == 0
    told = capsys.readouterr().out
    assert "left out, as the model was fitted on them: 1" in told
    results = json.loads((out / "results.json").read_text())
    (row,) = results["rows"]
    tested = scored.load(out / row["scores"])
    assert not any("seen" in path for path in tested.paths)
    assert (len(tested.labels), tested.labels.sum(), tested.known.sum()) == (7, 4, 6)
    assert row["image_auroc"] == 100 * roc_auc_score(tested.labels, tested.scores)
    known = tested.known
    assert row["pixel_auroc"] == pytest.approx(
        100 * roc_auc_score(tested.masks[known].ravel(), tested.maps[known].ravel())
    )
    assert "pixels of 1 defective images are not known" in row["undefined"][0]
    assert row["decision"]["detected"] == 100
    assert tested.radii.values.shape == (7, 21)
    # The scores are those that predict gives.
    assert wtflow("predict", place / "model", root / "bright", "--out", tmp_path / "found") == 0
    by_path = dict(zip(tested.paths, tested.scores, strict=True))
    for line in table(tmp_path / "found"):
        assert float(line["score"]) == pytest.approx(by_path[line["path"]], rel=1e-6)


def test_evaluate_says_what_is_wrong_in_one_line(place, tmp_path, capsys):
    trees.write(tmp_path / "full" / "a.png", trees.noisy(1))
    shutil.copytree(place / "good", tmp_path / "same" / "good")
    for arguments, words in (
        ((tmp_path / "same", "--out", tmp_path / "a"), "the model was fitted on this and all"),
        ((place / "new", "--out", tmp_path / "full"), "is not empty; give another --out"),
        ((tmp_path / "no", "--out", tmp_path / "a"), "no: nothing there: give the data set"),
        ((place / "new", "--out", tmp_path / "a", "--data", "mvtc"), "no such layout"),
    ):
        assert wtflow("evaluate", place / "model", *arguments) == 1
        err = capsys.readouterr().err.splitlines()
        assert len([line for line in err if line.startswith("error: ")]) == 1
        assert words in err[-1]
    assert not (tmp_path / "a").exists()


def test_bottle_as_a_plain_folder(tmp_path, capsys):
    bottle = shared("data", "mvtec_ad", "bottle")
    assert wtflow("fit", bottle / "train" / "good", "--out", tmp_path / "model") == 0
    told = capsys.readouterr().out
    assert "1.0% are expected to be higher" in told
    assert told.count("good/") == 3
    assert wtflow("predict", tmp_path / "model", bottle / "test", "--out", tmp_path / "found") == 0
    found = [row["decision"] == "defective" for row in table(tmp_path / "found")]
    good = ["good" in Path(row["path"]).parts for row in table(tmp_path / "found")]
    assert good.count(True) == 20
    assert sum(called for called, is_good in zip(found, good, strict=True) if not is_good) >= 60
    assert sum(called for called, is_good in zip(found, good, strict=True) if is_good) <= 2


def test_copies_are_no_evidence(place, tmp_path, capsys):
    """A copy of an image is not scored by a model that has seen it, and counts once."""
    assert wtflow("info", place / "model") == 0
    alone = capsys.readouterr().out.splitlines()[1]
    for i in range(3):
        shutil.copytree(place / "good", tmp_path / "good" / str(i))
    flags = "--out", tmp_path / "model", "--image-size", "64", "--false-alarms", "0.03"
    assert wtflow("fit", tmp_path / "good", *flags) == 0
    told = capsys.readouterr().out
    assert "12 good images and 24 copies" in told
    assert "7.7% are expected" in told
    # 1/33 is more than 3 %.
    assert "it takes 33 images" in told
    # About the threshold of the images without their copies, nothing near the lowest score.
    assert float(told.split("score of ")[1][:6]) > 0.9 * float(alone.split("score of ")[1][:6])
    same = tmp_path / "same"
    for i in range(3):
        trees.write(same / f"{i}.png", trees.noisy(0))
    assert wtflow("fit", same, "--out", tmp_path / "m", "--image-size", "64") == 1
    assert "3 images are 1 and copies of them" in capsys.readouterr().err


def test_resume_tells_of_all_rows_and_refuses_another_model(place, tmp_path, capsys):
    trees.write(tmp_path / "new" / "a.png", trees.noisy(300))
    (tmp_path / "new" / "b.png").write_bytes(b"rubbish")
    arguments = "predict", place / "model", tmp_path / "new", "--out", tmp_path / "new" / "found"
    assert wtflow(*arguments) == 3
    # Its own pictures are below what it is given, and are not scored.
    assert wtflow(*arguments, "--resume") == 3
    assert "2 images, " in capsys.readouterr().out.splitlines()[-1]
    loaded = model.load(place / "model")
    higher = loaded.threshold._replace(value=loaded.threshold.value + 0.01)
    model.save(loaded._replace(threshold=higher), tmp_path / "other")
    assert wtflow(arguments[0], tmp_path / "other", *arguments[2:], "--resume") == 1
    assert "has rows of another model" in capsys.readouterr().err


def test_nothing_on_standard_input(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    assert wtflow("predict", place / "model", "-", "--out", tmp_path / "found") == 1
    assert "standard input: no path in it" in capsys.readouterr().err
    assert not (tmp_path / "found").exists()


def test_three_good_images_are_enough_and_two_are_not(place, tmp_path, capsys):
    for i in range(3):
        trees.write(tmp_path / "three" / f"{i}.png", trees.noisy(i))
    for i in range(2):
        trees.write(tmp_path / "two" / f"{i}.png", trees.noisy(i))
    flags = "--image-size", "64", "--out"
    assert wtflow("fit", tmp_path / "three", *flags, tmp_path / "m3") == 0
    told = capsys.readouterr().out
    assert "25.0% are expected" in told
    assert "in place of" not in told
    assert wtflow("fit", tmp_path / "three", *flags, tmp_path / "m3") == 0
    assert "m3, in place of the model that was there;" in capsys.readouterr().out
    assert wtflow("fit", tmp_path / "two", *flags, tmp_path / "m2") == 1
    assert "2 good images: too few" in capsys.readouterr().err
    assert wtflow("predict", tmp_path / "m3", "--out", tmp_path / "found") == 1
    assert "no images: give directories" in capsys.readouterr().err


def test_evaluate_goes_on_where_scores_have_no_results(place, tmp_path, capsys):
    shutil.copytree(place / "good", tmp_path / "in" / "good")
    trees.write(tmp_path / "in" / "good" / "new.png", trees.noisy(60))
    trees.write(tmp_path / "in" / "dent" / "0.png", trees.noisy(61, defect=True))
    arguments = "evaluate", place / "model", tmp_path / "in", "--out", tmp_path / "out"
    assert wtflow(*arguments) == 0
    assert wtflow(*arguments) == 1
    (tmp_path / "out" / "results.json").unlink()
    assert wtflow(*arguments) == 0
    (tmp_path / "out" / "results.json").rename(tmp_path / "out" / "other.json")
    assert wtflow(*arguments) == 1
    assert "is not empty" in capsys.readouterr().err


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
