"""Several experiments one after another, and --help where it cannot be written."""

import os
import subprocess
import sys

import pytest
from running import EXPERIMENTS, rows

from wtflow_jax.lab import all


@pytest.mark.parametrize(
    ("script", "reader"),
    [
        (("-m", "wtflow_jax"), "gone"),
        (("-m", "wtflow_jax"), "full"),
        (("experiments/all.py",), "full"),
        pytest.param(("experiments/all.py",), "gone", marks=pytest.mark.slow),
        pytest.param(("experiments/sweep.py",), "gone", marks=pytest.mark.slow),
    ],
)
def test_help_that_cannot_be_written(script, reader):
    if reader == "full":
        writing, told = os.open("/dev/full", os.O_WRONLY), "error: No space left on device"
    else:
        reading, writing = os.pipe()
        os.close(reading)
        told = ""
    command = [sys.executable, *script, "--help"]
    ended = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=EXPERIMENTS.parent
    )
    os.close(writing)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == bool(told)
    assert ended.stderr.startswith(told)


@pytest.mark.long
def test_one_that_fails_is_told_of_and_the_next_goes_on(tmp_path, capsys):
    quick = "--smoke", "--image-size", "64", "--cache", tmp_path / "cache"
    words = [*map(str, quick), "--models", str(tmp_path / "models"), "--wt", "whiten"]
    names = ["radial", "exact_field"]
    # radial.py needs networks.
    words += ["--velocity", "exact"]
    command = [*names, "--out", str(tmp_path / "runs"), "--", *words]
    assert all.main(EXPERIMENTS, command) == 1
    told = capsys.readouterr().err
    assert "error: --velocity exact: singular at t = 0" in told
    assert told.endswith("error: radial failed, see above\n")
    assert len(rows(tmp_path / "runs" / "exact_field")) == 1
    # The same command goes on.
    measured = (tmp_path / "runs" / "exact_field" / "results.json").stat().st_mtime_ns
    assert all.main(EXPERIMENTS, command) == 1
    assert (tmp_path / "runs" / "exact_field" / "results.json").stat().st_mtime_ns == measured


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mvtek"], "error: mvtek: no such experiment; choose from ablation_placement"),
        (["--smoke"], "error: --smoke: unknown flag; give flags of experiments after --"),
    ],
)
def test_bad_input_is_one_line(words, message, capsys):
    assert all.main(EXPERIMENTS, words) == 1
    assert capsys.readouterr().err.startswith(message)
