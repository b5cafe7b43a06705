"""An experiment from its command line to its files, and resuming it."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from raising import fails
from running import EXPERIMENTS, load, one_line, rows, run

from wtflow_jax.lab import experiment, store
from wtflow_jax.support import tensors
from wtflow_jax.training.checkpoint import Checkpoints

METRICS = {"image_auroc", "image_ap", "image_f1", "pixel_auroc", "pixel_ap", "pixel_f1"} | {
    "pixel_aupro",
    "image_auroc_map",
}
QUICK = "--smoke", "--velocity", "patch", "--width", 8, "--image-size", 64, "--epochs", 3


def without_seconds(found):
    text = json.dumps(found, sort_keys=True)

    def drop(pairs):
        return {k: v for k, v in pairs if not k.startswith("seconds")}

    return json.loads(text, object_pairs_hook=drop)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache):
    """A whole run on the built-in category, in seconds, with its output."""
    place = tmp_path_factory.mktemp("runs")
    flags = *QUICK, "--cache", cache, "--models", place / "models", "--validation", 0.25
    with contextlib.redirect_stdout(open(place / "told", "w", encoding="utf-8")):
        assert run("mvtec", *flags, "--out", place / "out") == 0
    return place / "out", flags, (place / "told").read_text()


def files(directory):
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def test_writes_what_it_promises(finished):
    out, _, told = finished
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
    # So few good pixels have no rate of 1e-5.
    (why,) = row["undefined"]
    assert why.endswith(" pixels of good images are too few for a rate of 1e-05")
    assert row["pixel_aupimo"] is None
    # 4 of 16 training images were held out.
    decision = row["decision"]
    assert decision["images"] == 4
    assert decision["promised"] == pytest.approx(20)
    assert 0 <= decision["false_alarms"] <= 100
    assert results["config"]["width"] == 8
    assert "texture" in told
    assert f"written to {out / 'results.json'}" in told
    table = (out / "table.md").read_text()
    assert f"{row['image_auroc']:.2f} ± {row['image_auroc_std']:.2f}" in table


def test_the_scores_and_the_picture_of_a_run(finished):
    out, _, _ = finished
    (row,) = rows(out)
    arrays = np.load(out / "texture" / "scores.npz")
    n = len(arrays["path"])
    assert arrays["map"].shape == (n, 64, 64)
    assert arrays["score"].shape == arrays["label"].shape == (n,)
    assert set(arrays["label"]) == {False, True}
    picture = np.asarray(Image.open(out / "texture" / "maps.png").convert("RGB"))
    assert picture.std() > 20
    model = out.parent / "models" / row["model"]
    assert [path.name for path in model.iterdir()] == [store.FILE]
    # The threshold is the highest score of the four held-out images, a mean of their own cells.
    cells, _ = tensors.load(model / store.FILE)
    assert len(cells["cells/epoch3/test/detection"]) == n
    held_out = cells["cells/epoch3/validation/detection"]
    assert len(held_out) == 4
    assert held_out.mean() < row["decision"]["threshold"] <= held_out.max()


def test_a_finished_run_is_left_alone(finished, capsys):
    out, flags, _ = finished
    before = files(out)
    assert run("mvtec", *flags, "--out", out, "--resume") == 0
    assert before == files(out)
    capsys.readouterr()
    assert run("mvtec", *flags, "--out", out) == 1
    assert "is not empty; give --resume, or another --out" in one_line(capsys.readouterr().err)
    assert run("mvtec", *flags, "--out", out, "--resume", "--seed", 7) == 1
    assert "was run with seed = 0, not 7" in one_line(capsys.readouterr().err)
    assert run("loss_vs_wt", *flags, "--out", out, "--resume") == 1
    assert "was written by mvtec.py, not loss_vs_wt.py" in one_line(capsys.readouterr().err)
    assert before == files(out)


def test_what_is_lost_is_measured_again_and_is_the_same(finished):
    """Rows that come with the training and rows from the stored model are the same figures."""
    out, flags, _ = finished
    models = files(out.parent / "models")
    assert run("mvtec", *flags, "--out", out.parent / "again") == 0
    first, again = (
        json.loads((p / "results.json").read_text()) for p in (out, out.parent / "again")
    )
    assert first["rows"] == again["rows"]
    assert first["tables"] == again["tables"]
    scores, expected = (p / "texture" / "scores.npz" for p in (out.parent / "again", out))
    scores.unlink()
    assert run("mvtec", *flags, "--out", out.parent / "again", "--resume") == 0
    for name, array in np.load(expected).items():
        np.testing.assert_array_equal(np.load(scores)[name], array)
    assert files(out.parent / "models") == models


@pytest.mark.long
def test_stopped_within_an_epoch_it_goes_on_bit_for_bit(finished, tmp_path, monkeypatch, capsys):
    out, flags, _ = finished
    flags = *flags, "--models", tmp_path / "models", "--out", tmp_path / "out"
    save = store._evaluate

    def stopped(*given):
        signal.raise_signal(signal.SIGTERM)
        return save(*given)

    monkeypatch.setattr(store, "_evaluate", stopped)
    assert run("mvtec", *flags) == 143
    told = capsys.readouterr().err
    assert told.endswith("stopped; --resume goes on where it stopped\n")
    assert rows(tmp_path / "out") == []
    monkeypatch.setattr(store, "_evaluate", save)
    assert run("mvtec", *flags, "--resume", "--seed", 7) == 1
    assert "was run with seed = 0, not 7" in one_line(capsys.readouterr().err)
    assert run("mvtec", *flags, "--resume") == 0
    assert without_seconds(rows(tmp_path / "out")) == without_seconds(rows(out))
    for name, array in np.load(out / "texture" / "scores.npz").items():
        np.testing.assert_array_equal(
            np.load(tmp_path / "out" / "texture" / "scores.npz")[name], array
        )


@pytest.mark.long
def test_a_process_that_dies_goes_on_bit_for_bit(finished, tmp_path):
    """Killed after its second checkpoint, without time to clean up."""
    out, flags, _ = finished
    script = (
        "import sys\n"
        f"sys.path.insert(0, {str(EXPERIMENTS)!r})\n"
        "from wtflow_jax.training.checkpoint import Checkpoints\n"
        "save = Checkpoints.save\n"
        "def stop(self, state, history, past):\n"
        "    save(self, state, history, past)\n"
        "    self.manager.wait_until_finished()\n"
        "    if len(history) == 2: import os; os._exit(9)\n"
        "Checkpoints.save = stop\n"
        "import mvtec\n"
        "mvtec.EXPERIMENT.command('__main__')\n"
    )
    assert callable(Checkpoints.save)
    flags = *flags, "--models", tmp_path / "models", "--out", tmp_path / "out"
    command = [sys.executable, "-c", script, *map(str, flags)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert killed.returncode == 9, killed.stderr
    assert rows(tmp_path / "out") == []
    assert run("mvtec", *flags, "--resume") == 0
    assert without_seconds(rows(tmp_path / "out")) == without_seconds(rows(out))


@pytest.mark.parametrize("row", [7, "texture", {}, {"category": "texture", "seed": 0}], ids=str)
def test_rows_of_another_kind_are_not_gone_on_with(row, tmp_path, cache, capsys):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"experiment": "mvtec", "config": {}, "rows": [row]}))
    assert run("mvtec", "--smoke", "--cache", cache, "--out", tmp_path, "--resume") == 1
    told = one_line(capsys.readouterr().err)
    assert told == f"error: {path}: is not a results file; give another --out"


def test_a_directory_that_is_not_the_runs(tmp_path, cache, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    for more in ((), ("--resume",)):
        assert run("mvtec", "--smoke", "--cache", cache, "--out", tmp_path, *more) == 1
        assert f"{tmp_path}: " in one_line(capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.long
def test_a_row_a_category_variant_and_seed(tmp_path, cache):
    """Models that two experiments need are trained once, each with its own part's defaults."""
    flags = *QUICK[:-2], "--epochs", 1, "--cache", cache, "--models", tmp_path / "models"
    assert run("loss_vs_wt", *flags, "--seeds", 2, "--out", tmp_path / "loss") == 0
    found = rows(tmp_path / "loss")
    assert [(row["variant"], row["seed"]) for row in found] == [
        (wt, seed) for wt in ("none", "batch_norm", "layer_norm") for seed in (0, 1)
    ]
    assert {row["category"] for row in found} == {"texture"}
    before = files(tmp_path / "models")
    assert len(before) == 6
    alone = "--no-position", "--wt", "batch_norm", "--seed", 1
    assert run("mvtec", *flags, *alone, "--out", tmp_path / "alone") == 0
    (one,) = rows(tmp_path / "alone")
    same = found[3]
    other = "settings", "scores", "code", "variant", "environment"
    assert {k: v for k, v in one.items() if k not in other} == {
        k: v for k, v in same.items() if k not in other
    }
    assert files(tmp_path / "models") == before


def test_experiments_are_found_by_their_files(tmp_path):
    names = experiment.names(EXPERIMENTS)
    assert {"mvtec", "exact_field", "radial"} < set(names)
    assert not {"all", "sweep"} & set(names)
    for name in names:
        chosen = load(name)
        assert chosen.name == name
        setup = chosen.parse(["--smoke"])
        for changes in chosen.variants(setup).values():
            setup.config(**changes).check()
    with fails("nothing: no such experiment; choose from ablation_placement"):
        experiment.load(EXPERIMENTS, "nothing")
    with fails("sweep: no such experiment"):
        experiment.load(EXPERIMENTS, "sweep")


def test_a_file_of_ones_own_is_an_experiment(tmp_path, cache):
    (tmp_path / "mine_here.py").write_text(
        "from wtflow_jax.lab import Experiment\n"
        "from wtflow_jax.support.console import Table\n"
        "def run(job):\n    return {'answer': len(job.category.test)}\n"
        "def show(setup, rows):\n"
        "    return [Table('Mine', ['a'], [[str(row['answer'])] for row in rows])]\n"
        "EXPERIMENT = Experiment('mine_here', 'doc', show, measure=run)\n"
    )
    assert experiment.names(tmp_path) == ["mine_here"]
    mine = experiment.load(tmp_path, "mine_here")
    flags = "--smoke", "--cache", str(cache), "--out", str(tmp_path / "out")
    assert experiment.main(mine, [*flags, "--models", str(tmp_path / "models")]) == 0
    (row,) = rows(tmp_path / "out")
    assert row["answer"] == 10
    assert "| 10 |" in (tmp_path / "out" / "table.md").read_text()
