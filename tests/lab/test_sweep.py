"""Sweeps: an experiment's jobs in processes of their own, together one table."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

# Before a test captures what is printed: it sets up logging when it is imported.
import submitit
import trees
from running import EXPERIMENTS, wtflow

from wtflow_jax.lab import sweep


def start(command):
    return sweep.main(EXPERIMENTS, command)


def read(out):
    return json.loads((out / "mvtec" / "results.json").read_text())["rows"]


@pytest.fixture
def flags(tmp_path):
    for name in ("bolt", "cap"):
        trees.mvtec_ad(tmp_path / "data", name, train=4)
    where = {"root": "data", "cache": "cache", "models": "models"}
    places = [part for key, name in where.items() for part in (f"--{key}", str(tmp_path / name))]
    return [*places, "--smoke", "--velocity", "patch", "--image-size", "64"]


@pytest.mark.long
def test_a_failed_job_is_gone_on_with(flags, tmp_path, capsys):
    out = tmp_path / "runs"
    # One GPU per job; these jobs run on a CPU and do not use it.
    command = ["mvtec", "--jobs", "2", "--gpus", "2", "--out", str(out)]
    command += ["--", *flags, "--seeds", "1"]
    broken = tmp_path / "data" / "cap" / "train" / "good" / "000.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:40])
    assert start(command) == 1
    told = capsys.readouterr().err
    assert f"cap, seed 0: error: {broken}" in told
    assert "error: 1 of 2 jobs failed" in told
    (row,) = read(out)
    assert (row["category"], row["seed"]) == ("bolt", 0)

    broken.write_bytes(whole)
    models = {
        path: path.stat().st_mtime for path in (tmp_path / "models").glob("*/trained.safetensors")
    }
    assert len(models) == 1
    assert start(command) == 0
    rows = read(out)
    assert [row["category"] for row in rows] == ["bolt", "cap"]
    assert rows[0] == row
    # A page finds the scores of all jobs.
    assert wtflow("report", out / "mvtec") == 0
    assert all(path.stat().st_mtime == then for path, then in models.items())
    assert "cap" in capsys.readouterr().out
    assert start([*command, "--batch-size", "3"]) == 1
    assert "was run with batch_size = " in capsys.readouterr().err


@pytest.mark.long
def test_a_job_sees_the_gpus_it_is_given(monkeypatch, tmp_path):
    """The GPUs that jobs see, in a process like theirs."""
    (tmp_path / "told.py").write_text(
        "import os, pathlib\n"
        "from wtflow_jax.lab import experiment\n"
        "def main(chosen, flags):\n"
        "    pathlib.Path(flags[0]).write_text(str(os.environ.get('CUDA_VISIBLE_DEVICES')))\n"
        "experiment.main = main\n"
        "EXPERIMENT = None\n"
    )
    found = []
    for seen, gpus, slot in ((None, 0, 0), ("2,5", 0, 0), (None, 3, 2), ("2,5", 2, 1)):
        monkeypatch.delenv(sweep.VISIBLE, raising=False)
        if seen is not None:
            monkeypatch.setenv(sweep.VISIBLE, seen)
        settings = sweep.Settings("told", gpus=gpus, out=tmp_path / "runs")
        executor = sweep._executor(settings)
        arguments = [str(tmp_path / "answer")], sweep.devices(settings, slot)
        executor.submit(sweep.run_job, tmp_path, "told", *arguments).result()
        found.append((tmp_path / "answer").read_text())
    assert found == ["None", "2,5", "2", "5"]


def test_hidden_gpus_are_none(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv(sweep.VISIBLE, "")
    assert start(["mvtec", "--gpus", "2", "--out", str(tmp_path / "runs"), "--"]) == 1
    assert "error: --jobs 1: give at most 0, one GPU per job" in capsys.readouterr().err


def test_no_slurm_is_one_line(tmp_path, capsys):
    command = ["mvtec", "--cluster", "slurm", "--out", str(tmp_path / "runs"), "--", "--smoke"]
    assert start([*command, "--cache", str(tmp_path / "cache")]) == 1
    assert 'error: --cluster slurm: Could not detect "srun"' in capsys.readouterr().err


def test_a_slurm_array_is_asked_for(tmp_path, monkeypatch):
    """Without SLURM, check the submission script only."""
    monkeypatch.setattr(submitit.slurm.slurm.shutil, "which", lambda name: f"/bin/{name}")
    settings = sweep.Settings(
        "mvtec", cluster="slurm", jobs=15, gpus=1, partition="gpu", out=tmp_path
    )
    executor = sweep._executor(settings)
    text = executor._executor._make_submission_file_text("true", "x")
    for line in ("--gpus-per-node=1", "--partition=gpu", "--cpus-per-task=2", "--time=1440"):
        assert f"#SBATCH {line}" in text
    without = sweep._executor(replace(settings, gpus=0))
    assert "gpus" not in without._executor._make_submission_file_text("true", "x")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["mvtek"], "error: mvtek: no such experiment; choose from ablation_placement"),
        (["mvtec", "--jobs", "0"], "error: --jobs 0: give at least 1"),
        (["mvtec", "--jobs", "3", "--gpus", "2"], "error: --jobs 3: give at most 2, one GPU per"),
        (["mvtec", "--gpus", "-1"], "error: --gpus -1: give at least 0"),
        (["mvtec", "--", "--out", "there"], "error: --out: is a flag of the sweep; give it before"),
        (["mvtec", "--", "--categories", "nut"], "error: --categories nut: without --root there"),
        (["mvtec", "--hours", "inf"], "error: --hours inf: give at least 0.02"),
        (["mvtec", "--hours", "0"], "error: --hours 0: give at least 0.02"),
        (["mvtec", "--", "--coordinator", "a:1"], "error: --coordinator: a job of a sweep is one"),
        (["mvtec", "--", "--root", "nowhere"], "error: nowhere: "),
        (["mvtec", "--", "--width", "9"], "error: --width 9"),
        (["mvtec", "--seeds", "3"], "error: --seeds: unknown flag; give"),
    ],
    ids=str,
)
def test_bad_flags_start_nothing(command, message, tmp_path, capsys):
    cache = ["--cache", str(tmp_path / "cache")] if "--" in command else []
    assert start([command[0], "--out", str(tmp_path / "runs"), *command[1:], *cache]) == 1
    assert capsys.readouterr().err.startswith(message)
    assert not (tmp_path / "runs").exists()


@pytest.mark.long
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM], ids=lambda by: by.name)
def test_who_stops_a_sweep_stops_its_jobs(by, flags, tmp_path):
    script = EXPERIMENTS / "sweep.py"
    command = [sys.executable, script, "mvtec", "--jobs", "2", "--out", tmp_path / "runs", "--"]
    command += [*flags, "--epochs", "100000"]
    running = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    # Minutes on a busy machine.
    deadline = time.monotonic() + 600
    while len(list((tmp_path / "models").glob("*/checkpoint"))) < 2:
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.2)
    running.send_signal(by)
    _, told = running.communicate(timeout=300)
    assert running.returncode == 128 + by
    # submitit adds a traceback of its own.
    assert "\nstopped; the same command goes on\n" in told

    def alive():
        names = Path("/proc").glob("[0-9]*/cmdline")
        return [path for path in names if str(tmp_path / "runs").encode() in read_or_empty(path)]

    while alive():
        assert time.monotonic() < deadline, "a job goes on"
        time.sleep(0.2)


def read_or_empty(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""
