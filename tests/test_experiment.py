"""The main job through its real command line, and what it says to bad input."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trees
from conftest import shared
from PIL import Image

import common
import models
import mvtec as main_job
import pooling
from wtflow_jax.config import Config

ROOT = Path(__file__).parents[1]
METRICS = {"image_auroc", "image_ap", "image_f1", "pixel_auroc", "pixel_ap", "pixel_f1"} | {
    "pixel_aupro",
    "image_auroc_map",
}


def mvtec(*flags, timeout=240, file="mvtec.py"):
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


def rows(out):
    return json.loads((out / "results.json").read_text())["rows"]


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
    assert set(results) == {"experiment", "config", "environment", "rows"}
    assert set(results["environment"]) == {"versions", "device", "git_commit"}
    (row,) = results["rows"]
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
    assert [name for name in names if name.isdigit()] == ["2", "3"]
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
    assert "is not empty; give --resume" in one_line(refused)
    changed = mvtec(*flags, "--resume", "--seed", 7)
    assert "seed = 0, not 7" in one_line(changed)


def test_resumed_equals_uninterrupted_bit_for_bit(finished, cache, tmp_path):
    """Stop after the second epoch as a killed process would, and go on."""
    out, _ = finished
    script = (
        "import sys, common\n"
        "from wtflow_jax.checkpoint import Checkpoints\n"
        "save = Checkpoints.save\n"
        "def stop(self, state, history):\n"
        "    save(self, state, history)\n"
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
    assert "seed = 0, not 7" in one_line(mvtec(*flags, "--resume", "--seed", 7))
    resumed = mvtec(*flags, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    a, b = (json.loads((p / "results.json").read_text()) for p in (out, tmp_path / "run"))
    assert without_seconds(a) == without_seconds(b)
    maps = [np.load(p / "texture" / "scores.npz")["map"] for p in (out, tmp_path / "run")]
    np.testing.assert_array_equal(*maps)


def one_line(done):
    """Return the message of a run that has to end in one line, status 1 and no traceback."""
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr + done.stdout
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert done.stderr.rstrip().endswith(errors[0])
    return errors[0]


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "data"
    trees.mvtec_ad(root, "bolt")
    return root


def places(out):
    """Flags that keep a run's files together."""
    return "--out", out, "--models", out.parent / "models"


def quick(root, tmp_path, *flags):
    where = *places(tmp_path / "out"), "--cache", tmp_path / "cache"
    return mvtec("--smoke", "--root", root, *where, *flags)


def test_a_missing_root(tmp_path):
    message = one_line(quick(tmp_path / "nowhere", tmp_path))
    assert "nowhere" in message
    assert not (tmp_path / "out").exists()


def test_a_category_that_is_not_there(tree, tmp_path):
    message = one_line(quick(tree, tmp_path, "--categories", "nut"))
    assert "nut" in message
    assert "bolt" in message


def test_categories_without_a_root(tmp_path, cache):
    message = one_line(mvtec("--categories", "bottle", "--out", tmp_path / "o", "--cache", cache))
    assert message.endswith("bottle: without --root there is only texture; give --root")


def test_a_truncated_image(tree, tmp_path):
    path = sorted((tree / "bolt" / "train" / "good").iterdir())[0]
    path.write_bytes(path.read_bytes()[:60])
    message = one_line(quick(tree, tmp_path))
    assert path.name in message
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_mask_of_another_size(tree, tmp_path):
    path = sorted((tree / "bolt" / "ground_truth").rglob("*.png"))[0]
    Image.new("L", (5, 7)).save(path)
    message = one_line(quick(tree, tmp_path))
    assert path.name in message
    assert "7x5" in message


def test_a_defect_without_mask(tree, tmp_path):
    path = sorted((tree / "bolt" / "ground_truth").rglob("*.png"))[0]
    path.unlink()
    assert "without mask" in one_line(quick(tree, tmp_path))


def test_weights_of_another_architecture(tree, tmp_path):
    weights = shared("weights", "resnet18_imagenet1k_v1_folded_layer3.safetensors")
    message = one_line(quick(tree, tmp_path, "--backbone", "resnet34", "--weights", weights))
    assert weights.name in message
    assert "resnet34" in message


def test_a_hostile_pickle(tree, tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "taken"),)

    weights = tmp_path / "weights.pth"
    weights.write_bytes(pickle.dumps(Hostile()))
    message = one_line(quick(tree, tmp_path, "--backbone", "resnet18", "--weights", weights))
    assert "weights.pth" in message
    assert not (tmp_path / "taken").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--image-size", "100"), "multiple of 32"),
        (("--layer", "block99"), "block99"),
        (("--width", "12"), "--width 12: give a positive multiple of 8"),
        (("--epochs", "0"), "--epochs 0"),
        (("--top-fraction", "1.5"), "--top-fraction 1.5"),
        (("--decay-at", "0.5", "1.5"), "give fractions between 0 and 1"),
        (("--seed", "99999999999"), "--seed 99999999999"),
    ],
)
def test_values_out_of_range(tree, tmp_path, flags, said):
    assert said in one_line(quick(tree, tmp_path, *flags))


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
    found = [e for e in range(1, config.epochs + 1) if models._evaluated(config, e)]
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


def test_an_out_that_cannot_be_made(tree, tmp_path):
    (tmp_path / "file").write_text("")
    message = one_line(quick(tree, tmp_path, "--out", tmp_path / "file" / "x"))
    assert "file" in message


def test_masks_that_mark_nothing(tree, tmp_path):
    for path in (tree / "bolt" / "ground_truth").rglob("*.png"):
        Image.new("L", Image.open(path).size).save(path)
    assert "marks a pixel" in one_line(quick(tree, tmp_path))
    # What was refused leaves nothing that refuses the next run.
    assert "marks a pixel" in one_line(quick(tree, tmp_path))


def test_training_that_diverges(tree, tmp_path):
    message = one_line(quick(tree, tmp_path, "--learning-rate", "1e30", "--epochs", "3"))
    assert "lower --learning-rate" in message
    # As told, with the same flags else.
    again = quick(tree, tmp_path, "--learning-rate", "1e-3", "--epochs", "1")
    assert again.returncode == 0, again.stderr


def test_the_exact_field_trains_nothing(tmp_path, cache):
    out = tmp_path / "exact"
    done = mvtec("--smoke", *places(out), "--cache", cache, file="exact_field.py")
    assert done.returncode == 0, done.stderr
    results = json.loads((out / "results.json").read_text())
    assert (results["config"]["velocity"], results["config"]["wt"]) == ("exact", "whiten")
    (texture,) = results["rows"]
    assert texture["loss"] is None
    assert texture["image_auroc_std"] == texture["pixel_auroc_std"] == 0
    assert texture["image_auroc"] == texture["history"][-1]["image_auroc"]
    assert not (tmp_path / "models" / texture["model"] / "checkpoint").exists()
    assert (out / "texture" / "maps.png").exists()


def test_another_experiments_results_are_not_gone_on_with(tmp_path, cache):
    out = tmp_path / "held"
    flags = "--smoke", *places(out), "--cache", cache
    assert mvtec(*flags, file="held_out.py").returncode == 0
    done = mvtec(*flags, "--resume", file="exact_field.py")
    assert done.returncode == 1
    assert "was written by held_out.py, not exact_field.py; give another --out" in done.stderr


def test_a_patch_velocity_trains(tmp_path, cache):
    out = tmp_path / "patch"
    flags = "--velocity", "patch", "--wt", "whiten", "--smoke", *places(out), "--cache", cache
    assert mvtec(*flags).returncode == 0
    (texture,) = rows(out)
    assert texture["history"][-1]["loss"] < texture["history"][0]["loss"]
    assert 0 <= texture["pixel_auroc"] <= 100


def test_radii_of_every_map(tmp_path, cache):
    out = tmp_path / "radial"
    done = mvtec("--smoke", *places(out), "--cache", cache, file="radial.py")
    assert done.returncode == 0, done.stderr
    (texture,) = rows(out)
    for wt in ("none", "batch_norm", "layer_norm"):
        assert len(texture[wt]["good"]) == 11
        assert 0 <= texture[wt]["observation_2_share"] <= 1
    # Lemma 5.
    assert texture["layer_norm"]["good"][0] == pytest.approx(texture["sqrt_d"], rel=0.01)
    assert {path.name for path in (out / "texture").iterdir()} == {
        "radial.png",
        "activations.png",
        "histograms.png",
    }


def test_geometry_of_a_field(tmp_path, cache):
    out = tmp_path / "geometry"
    done = mvtec("--smoke", *places(out), "--cache", cache, file="geometry.py")
    assert done.returncode == 0, done.stderr
    (texture,) = rows(out)
    assert -1 <= texture["start"]["cosine of v and −x0"] <= 1
    times = texture["times"]
    assert all(a <= 1.01 * b for a, b in zip(times["exact, space"], times["bound"], strict=True))


def test_a_model_that_two_tables_need_is_trained_once(tmp_path, cache):
    out = tmp_path / "velocities"
    flags = "--smoke", "--seeds", 1, *places(out), "--cache", cache
    done = mvtec(*flags, file="velocities.py")
    assert done.returncode == 0, done.stderr
    found = {row["variant"]: row for row in rows(out)}
    assert set(found) == {
        f"{wt} {velocity}"
        for wt in ("none", "batch_norm", "layer_norm", "whiten")
        for velocity in ("unet", "patch", "exact")
    }
    assert found["whiten exact"]["loss"] is None
    store = tmp_path / "models"
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    # The same model, by the main job's flags and by another experiment's.
    flags = "--smoke", "--velocity", "patch", "--cache", cache, "--models", store
    done = mvtec(*flags, "--wt", "whiten", "--out", tmp_path / "alone")
    assert done.returncode == 0, done.stderr
    assert without_variant(rows(tmp_path / "alone")[0]) == without_variant(found["whiten patch"])
    assert mvtec(*flags, "--out", tmp_path / "loss", file="loss_vs_wt.py").returncode == 0
    same = [row["model"] for row in rows(tmp_path / "loss")]
    assert same == [found[f"{wt} patch"]["model"] for wt in ("none", "batch_norm", "layer_norm")]
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


def without_variant(row):
    return {name: value for name, value in row.items() if name != "variant"}


def test_what_training_images_decide(tmp_path, cache):
    out = tmp_path / "held_out"
    flags = "--smoke", *places(out), "--cache", cache
    done = mvtec(*flags, file="held_out.py")
    assert done.returncode == 0, done.stderr
    (texture,) = rows(out)
    assert all(np.isfinite(value) for value in texture["alpha"].values())
    ratios = [part["square"] / part["unscaled"] for part in texture["moments"].values()]
    # One scale for all.
    assert ratios == pytest.approx([ratios[0]] * 3)
    refused = mvtec("--wt", "none", *places(tmp_path / "x"), "--cache", cache, file="held_out.py")
    assert refused.returncode == 1
    assert "--wt none: held_out.py questions whiten" in refused.stderr


def test_what_training_images_say_of_pooling(tmp_path, cache):
    out = tmp_path / "pooling"
    flags = "--velocity", "exact", "--wt", "whiten", "--smoke", *places(out), "--cache", cache
    done = mvtec(*flags, file="pooling.py")
    assert done.returncode == 0, done.stderr
    (texture,) = rows(out)
    assert list(texture["pooling"]) == ["0.1", "0.03", "0.01", "0.003", "0.001", "0.0"]
    assert all(0 <= value <= 100 for value in texture["pooling"].values())
    assert max(texture["pooling"].values()) > 60


def test_pasting_moves_a_block_of_another_map():
    maps = np.arange(4 * 12 * 15).reshape(4, 12, 15, 1) + np.zeros((1, 1, 1, 2))
    pasted = pooling.paste(maps, np.random.default_rng(0))
    assert pasted.shape == maps.shape
    for i, (before, after) in enumerate(zip(maps, pasted, strict=True)):
        changed = (before != after).all(-1)
        rows, columns = np.nonzero(changed)
        block = after[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1, 0]
        assert block.size == changed.sum() <= 1.5 * 0.05 * 180
        # Neighbours stay neighbours, and all are of one other map.
        assert (np.diff(block, axis=1) == 1).all()
        owners = set((block // 180).ravel())
        assert len(owners) == 1
        assert owners != {i}


def test_the_exact_field_wants_a_gaussian_target(tmp_path, cache):
    flags = "--target", "sphere", "--out", tmp_path / "x", "--cache", cache
    done = mvtec(*flags, file="exact_field.py")
    assert done.returncode == 1
    assert "--target sphere: its exact field has no closed form" in done.stderr
    assert "Traceback" not in done.stderr
