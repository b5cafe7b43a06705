"""Experiments and ``wtflow`` run in this process, and what they print and write."""

import csv
import json
from pathlib import Path

from wtflow_jax.app import commands
from wtflow_jax.lab import experiment

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def load(name):
    """Return the experiment of a file."""
    return experiment.load(EXPERIMENTS, name)


def run(name, *flags):
    """Run an experiment and return its exit status."""
    return experiment.main(load(name), [*map(str, flags)])


def wtflow(*arguments):
    """Run a command of wtflow and return its exit status."""
    return commands.main([*map(str, arguments)])


def table(directory):
    """Return the rows of predictions.csv."""
    path = directory / "predictions.csv"
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def places(out):
    """Return flags that keep a run's files together."""
    return "--out", out, "--models", out.parent / "models"


def rows(out):
    """Return the rows of a run's results."""
    return json.loads((out / "results.json").read_text())["rows"]


def one_line(stderr):
    """Return the message of a run that has to end in one line, and in no traceback."""
    assert "Traceback" not in stderr
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert stderr.rstrip().endswith(errors[0])
    return errors[0]
