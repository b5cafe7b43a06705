"""The main job through its real command line: files, figures, going on where it stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raising import fails
from running import one_line, rows, run

import mvtec as main_job
from wtflow_jax.detector.config import Config
from wtflow_jax.lab import common, training

ROOT = Path(__file__).parents[1]
METRICS = {"image_auroc", "image_ap", "image_f1", "pixel_auroc", "pixel_ap", "pixel_f1"} | {
    "pixel_aupro",
    "image_auroc_map",
}


def mvtec(*flags, timeout=900, file="mvtec.py"):
    """Run an experiment in a process of its own."""
    return subprocess.run(
        [sys.executable, str(ROOT / "experiments" / file), *map(str, flags)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "COLUMNS": "120"},
        check=False,
    )


def without_seconds(results):
    text = json.dumps(results["rows"], sort_keys=True)

    def drop(pairs):
        return {k: v for k, v in pairs if not k.startswith(("seconds", "environment"))}

    return json.loads(text, object_pairs_hook=drop)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache):
    """A whole run on the built-in category, in seconds."""
    out = tmp_path_factory.mktemp("runs") / "smoke"
    store = out.parent / "models"
    flags = "--smoke", "--epochs", 3, "--out", out, "--cache", cache, "--models", store
    done = mvtec(*flags, "--validation", 0.25)
    assert done.returncode == 0, done.stderr
    return out, done


def test_writes_what_it_promises(finished):
    out, done = finished
    results = json.loads((out / "results.json").read_text())
    assert set(results) == {"experiment", "config", "rows", "tables"}
    (row,) = results["rows"]
    assert set(row["environment"]) == {"versions", "device", "git_commit"}
    assert row["settings"] == {}
    assert (row["category"], row["variant"], row["seed"]) == ("texture", "", 0)
    assert set(row) >= METRICS | {f"{name}_{kind}" for name in METRICS for kind in ("std", "final")}
    assert [entry["epoch"] for entry in row["history"]] == [1, 2, 3]
    for metric in METRICS:
        evaluated = [entry[metric] for entry in row["history"]]
        assert row[metric] == pytest.approx(np.mean(evaluated))
        assert row[f"{metric}_final"] == evaluated[-1]
        assert 0 <= row[metric] <= 100
    assert row["undefined"] == []
    # 4 of 16 training images were held out.
    decision = row["decision"]
    assert decision["images"] == 4
    assert decision["promised"] == pytest.approx(20)
    assert 0 <= decision["false_alarms"] <= 100
    assert results["config"]["width"] == 16
    assert "texture" in done.stdout
    table = (out / "table.md").read_text()
    assert f"{row['image_auroc']:.2f} ± {row['image_auroc_std']:.2f}" in table

    arrays = np.load(out / "texture" / "scores.npz")
    n = len(arrays["path"])
    assert arrays["map"].shape == (n, 128, 128)
    assert arrays["score"].shape == arrays["label"].shape == (n,)
    assert set(arrays["label"]) == {False, True}
    picture = np.asarray(Image.open(out / "texture" / "maps.png").convert("RGB"))
    assert picture.std() > 20
    model = out.parent / "models" / row["model"]
    names = sorted(path.name for path in (model / "checkpoint").iterdir())
    assert [name for name in names if name.isdigit()] == ["6", "9"]
    # The threshold is the highest score of the four held-out images, a mean of their own cells.
    with np.load(model / "cells" / "0003.npz") as file:
        cells = file["validation_detection"]
        assert len(cells) == 4
        assert len(file["test_detection"]) == n
    assert cells.mean() < decision["threshold"] <= cells.max()


def test_a_finished_run_is_left_alone(finished, cache):
    out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    flags = "--smoke", "--epochs", 3, "--out", out, "--cache", cache, "--validation", 0.25
    again = mvtec(*flags, "--resume")
    assert again.returncode == 0, again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    refused = mvtec(*flags)
    assert refused.returncode == 1
    assert "is not empty; give --resume" in one_line(refused.stderr)
    changed = mvtec(*flags, "--resume", "--seed", 7)
    assert "seed = 0, not 7" in one_line(changed.stderr)
    # What is lost of it is measured again.
    scores = out / "texture" / "scores.npz"
    maps = np.load(scores)["map"]
    scores.unlink()
    again = mvtec(*flags, "--resume", "--models", out.parent / "models")
    assert again.returncode == 0, again.stderr
    np.testing.assert_array_equal(np.load(scores)["map"], maps)


ROW = {"category": "texture", "variant": "", "seed": 0, "settings": {}}


WRONG = {"category": []}, {"scores": 7}, {"seed": [1]}, {"undefined": 5}, {"undefined": [5]}


@pytest.mark.parametrize("row", [7, "texture", {}, *(ROW | wrong for wrong in WRONG)])
def test_rows_of_another_kind_are_not_gone_on_with(row, tmp_path, cache, capsys):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"experiment": "mvtec", "config": {}, "rows": [row]}))
    assert run("mvtec", "--smoke", "--cache", cache, "--out", tmp_path, "--resume") == 1
    assert capsys.readouterr().err == f"error: {path}: is no results file; give another --out\n"


def test_figures_of_another_kind_are_told_before_anything_is_measured(tmp_path):
    config = common.parse(main_job.EXPERIMENT, ["--smoke", "--out", str(tmp_path)])
    for wrong in ({}, {"decision": None}, {"image_auroc": "x"}):
        with fails(f"{tmp_path / 'results.json'}: is no results file"):
            common.merge(main_job.EXPERIMENT, config, [ROW | wrong])
    assert list(tmp_path.iterdir()) == []


def test_resumed_equals_uninterrupted_bit_for_bit(finished, cache, tmp_path):
    """Stop after the second epoch as a killed process would, and go on."""
    out, _ = finished
    script = (
        "import sys, common\n"
        "from wtflow_jax.training.checkpoint import Checkpoints\n"
        "save = Checkpoints.save\n"
        "def stop(self, state, history, past):\n"
        "    save(self, state, history, past)\n"
        "    self.manager.wait_until_finished()\n"
        "    if len(history) == 2: import os; os._exit(9)\n"
        "Checkpoints.save = stop\n"
        "import mvtec\n"
        "common.main(mvtec.EXPERIMENT, sys.argv[1:])\n"
    )
    flags = ["--smoke", "--epochs", "3", "--out", str(tmp_path / "run"), "--cache", str(cache)]
    flags += ["--validation", "0.25", "--models", str(tmp_path / "models")]
    killed = subprocess.run(
        [sys.executable, "-c", script, *flags],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT / "experiments")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == 9, killed.stderr
    assert rows(tmp_path / "run") == []
    assert "seed = 0, not 7" in one_line(mvtec(*flags, "--resume", "--seed", 7).stderr)
    resumed = mvtec(*flags, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    a, b = (json.loads((p / "results.json").read_text()) for p in (out, tmp_path / "run"))
    assert without_seconds(a) == without_seconds(b)
    maps = [np.load(p / "texture" / "scores.npz")["map"] for p in (out, tmp_path / "run")]
    np.testing.assert_array_equal(*maps)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"epochs": 30}, list(range(21, 31))),
        ({"epochs": 3}, [1, 2, 3]),
        ({"epochs": 30, "eval_every": 2}, list(range(12, 31, 2))),
        ({"epochs": 12, "eval_from": 0.0}, list(range(1, 13))),
        ({"epochs": 7, "eval_every": 3}, [1, 4, 7]),
    ],
)
def test_which_epochs_are_evaluated(flags, expected):
    config = Config(**flags)
    found = [e for e in range(1, config.epochs + 1) if training._evaluated(config, e)]
    assert found == expected


def parsed(*flags):
    return common.parse(main_job.EXPERIMENT, flags)


def test_the_preset_supplies_defaults_and_flags_win():
    paper = parsed("--preset", "paper", "--width", "512")
    assert (paper.backbone, paper.epochs, paper.learning_rate) == ("wide_resnet50_2", 100, 2e-4)
    assert paper.width == 512
    assert not paper.position
    assert parsed("--preset", "paper", "--wt", "none").position
    small = parsed("--smoke", "--epochs", "7")
    assert (small.epochs, small.image_size, small.preset) == (7, "128", "small")


def test_a_model_that_two_tables_need_is_trained_once(tmp_path, cache):
    out = tmp_path / "velocities"
    flags = "--smoke", "--seeds", 1, "--cache", cache, "--models", tmp_path / "models"
    assert run("velocities", *flags, "--out", out) == 0
    found = {row["variant"]: row for row in rows(out)}
    assert set(found) == {
        f"{wt} {velocity}"
        for wt in ("none", "batch_norm", "layer_norm", "whiten")
        for velocity in ("unet", "patch", "exact")
    }
    assert found["whiten exact"]["loss"] is None
    before = written(tmp_path / "models")
    # The same model, by the main job's flags and by another experiment's.
    asked = "--velocity", "patch", "--wt", "whiten", "--out", tmp_path / "alone"
    assert run("mvtec", *flags, *asked) == 0
    alone = rows(tmp_path / "alone")[0]
    assert figures(alone) == figures(found["whiten patch"])
    assert run("loss_vs_wt", *flags, "--out", tmp_path / "loss") == 0
    same = [row["model"] for row in rows(tmp_path / "loss")]
    assert same == [found[f"{wt} unet"]["model"] for wt in ("none", "batch_norm", "layer_norm")]
    assert written(tmp_path / "models") == before


def written(directory):
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path: path.stat().st_mtime_ns for path in files}


def figures(row):
    other = "variant", "settings", "scores"
    return {name: value for name, value in row.items() if name not in other}
