"""A command that is killed, and what is left of it: the harness of test_killed and benchmarks."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
SIGNALS = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
LEAVING = 10.0
"""Seconds that SIGTERM and SIGINT may take."""


class Moment(NamedTuple):
    """When a run is killed.

    Attributes:
        name: in print.
        pattern: of a file that is looked for below the run's directory; the run is killed as soon
            as there is one that was not there when it started.
        delay: seconds after that; without a pattern, after the start.
    """

    name: str
    pattern: str | None = None
    delay: float = 0.0


class Death(NamedTuple):
    """How a run ended that was killed; ``seconds`` from the signal on."""

    moment: Moment
    number: signal.Signals
    hit: bool
    seconds: float
    stderr: str


def start(command, place, compiled=None):
    """Start a command of this interpreter with its caches below ``place``."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "COLUMNS": "120", "PYTHONPATH": str(ROOT)}
    if compiled:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(compiled)
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill(command, place, moment, number, compiled=None, most=300.0):
    """Run a command and kill it at a moment; ``hit`` is False where it was over before."""
    before = set(place.glob(moment.pattern)) if moment.pattern else set()
    running = start(command, place, compiled)
    ending = time.monotonic() + most
    while moment.pattern and running.poll() is None and time.monotonic() < ending:
        if set(place.glob(moment.pattern)) - before:
            break
        time.sleep(0.001)
    if moment.delay:
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(moment.delay)
    hit = running.poll() is None
    at = time.monotonic()
    if hit:
        running.send_signal(number)
    _, stderr = running.communicate(timeout=most)
    return Death(moment, number, hit, time.monotonic() - at, stderr)


def finish(command, place, compiled=None):
    """Run a command to its end and return what it printed on standard error."""
    running = start(command, place, compiled)
    _, stderr = running.communicate()
    assert running.returncode == 0, stderr
    return stderr


def numbers(text):
    """Return JSON without what differs between equal runs: seconds, versions and paths."""

    def drop(pairs):
        return {k: v for k, v in pairs if not k.startswith(("seconds", "environment"))}

    return json.loads(text, object_pairs_hook=drop)


def arrays(path):
    """Return the arrays of an .npz file as bytes, by name."""
    with np.load(path) as file:
        return {name: file[name].tobytes() for name in file.files}


def left(place):
    """Return what a run has left that it should not have: parts of files, locks."""
    bad = ("*.part", ".lock", "*orbax-checkpoint-tmp*")
    return [str(path.relative_to(place)) for end in bad for path in place.rglob(end)]


def trained(place):
    """Return all numbers that an experiment has left: rows, maps, and of models everything."""
    from wtflow_jax.support import tensors

    out, models = place / "out", place / "models"
    found = {"rows": numbers((out / "results.json").read_text())["rows"]}
    for path in sorted(out.rglob("scores.npz")):
        found[str(path.relative_to(place))] = arrays(path)
    for path in sorted(models.glob("*/trained.safetensors")):
        kept, about = tensors.load(path)
        found[path.parent.name] = (
            numbers(json.dumps(about)),
            {name: array.tobytes() for name, array in kept.items()},
        )
    return found


def files(directory):
    """Return the contents of all files below a directory, by their paths."""
    found = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}
