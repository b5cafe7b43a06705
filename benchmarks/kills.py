"""Kills commands at random moments, resumes them, and compares with uninterrupted runs.

    python benchmarks/kills.py --kills 60

An experiment is killed while it extracts features, trains, saves, scores and writes results;
``wtflow predict`` while it draws maps. Each run is killed up to four times, by SIGKILL, SIGTERM or
SIGINT, and resumed with ``--resume``. Then cells, losses and weights must be equal bit for bit.
Rows and maps of ``predict`` may differ in the last digit of scores, which on some CPUs depends on
an image's place in its batch.
"""

import contextlib
import csv
import io
import json
import operator
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tyro
from PIL import Image
from rich.console import Console
from rich.table import Table

from wtflow_jax.support import tensors

ROOT = Path(__file__).parents[1]
SIGNALS = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
SHADE = 6
"""Allowed difference of an overlay's channel, of 255, if scores differ in the last digit."""
LEAVING = 10.0
"""Seconds that a process may take to end after SIGTERM or SIGINT."""


class Moment(NamedTuple):
    """When to kill a run: ``delay`` seconds after a new file matches ``pattern``."""

    name: str
    pattern: str | None = None
    delay: float = 0.0


class Death(NamedTuple):
    """The end of a killed run; ``hit`` is False if it ended before the signal."""

    hit: bool
    seconds: float
    stderr: str


def start(command, place, compiled=None):
    """Start a command of this interpreter in ``place``, on the CPU."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "COLUMNS": "120", "PYTHONPATH": str(ROOT)}
    if compiled:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(compiled)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    words = [sys.executable, *map(str, command)]
    return subprocess.Popen(words, cwd=place, env=environment, **pipes)


def kill(command, place, moment, number, compiled=None, most=300.0):
    """Run a command and send it a signal at a moment."""
    before = set(place.glob(moment.pattern)) if moment.pattern else set()
    running, ending = start(command, place, compiled), time.monotonic() + most
    while moment.pattern and running.poll() is None and time.monotonic() < ending:
        if set(place.glob(moment.pattern)) - before:
            break
        time.sleep(0.001)
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.wait(moment.delay)
    hit, at = running.poll() is None, time.monotonic()
    if hit:
        running.send_signal(number)
    _, stderr = running.communicate(timeout=most)
    return Death(hit, time.monotonic() - at, stderr)


def finish(command, place, compiled=None):
    """Run a command to its end and return what it printed on standard error."""
    running = start(command, place, compiled)
    _, stderr = running.communicate()
    assert running.returncode == 0, stderr
    return stderr


def left(place):
    """Return the paths of partial files and locks that a run should not have left."""
    bad = ("*.part", ".lock", "*orbax-checkpoint-tmp*")
    return [str(path.relative_to(place)) for end in bad for path in place.rglob(end)]


def files(directory):
    """Return the contents of all files below a directory, by path."""
    found = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def predicted(directory):
    """Return the output of ``wtflow predict``: rows, and pictures by path."""
    found = files(directory)
    lines, table = found.pop("predictions.jsonl"), found.pop("predictions.csv").decode()
    rows = [json.loads(line) for line in lines.splitlines()]
    read = list(csv.DictReader(io.StringIO(table)))
    assert read == [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows]
    pictures = {path: np.asarray(Image.open(io.BytesIO(data))) for path, data in found.items()}
    return {"rows": rows, **pictures}


def alike(found, expected):
    """Return whether two runs of ``predict`` agree, except for the last digit of scores."""
    rows, others = found["rows"], expected["rows"]
    if found.keys() != expected.keys() or len(rows) != len(others):
        return False
    pictures = [(found[name], expected[name]) for name in found.keys() - {"rows"}]
    return all(
        {**row, "score": other["score"]} == other
        and np.isclose(row["score"], other["score"], rtol=1e-6, atol=0)
        for row, other in zip(rows, others, strict=True)
    ) and all(a.shape == b.shape and np.abs(1.0 * a - b).max() <= SHADE for a, b in pictures)


def trained(place):
    """Return all numbers that an experiment has written, without seconds and versions."""

    def drop(pairs):
        return {k: v for k, v in pairs if not k.startswith(("seconds", "environment"))}

    results = json.loads((place / "out" / "results.json").read_text(), object_pairs_hook=drop)
    found = {"rows": results["rows"]}
    for path in sorted(place.glob("out/**/*.npz")):
        with np.load(path) as file:
            found[str(path)] = {name: file[name].tobytes() for name in file.files}
    for path in sorted(place.glob("models/*/*.safetensors")):
        arrays, about = tensors.load(path)
        found[path.parent.name] = {name: array.tobytes() for name, array in arrays.items()}
        found[path.parent.name] |= json.loads(json.dumps(about), object_pairs_hook=drop)
    return {name.removeprefix(f"{place}/"): value for name, value in found.items()}


Found: TypeAlias = dict[str, Any]
Work: TypeAlias = tuple[
    tuple[Any, ...], tuple[Moment, ...], Callable[[Path], Found], Callable[[Found, Found], bool]
]
"""A command, its moments, a function that reads its output, and a comparison of outputs."""


def works(place: Path, images: int) -> dict[str, Work]:
    """Prepare a model and images below a directory, and return the commands to kill."""
    grain = np.random.default_rng(0).integers(0, 60, (images + 20, 96, 96, 3), np.uint8)
    for i, pixels in enumerate(grain):
        path = place / ("good" if i < 20 else "new") / f"{i:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels + np.uint8(90)).save(path)
    model, wtflow = place / "model", ("-m", "wtflow_jax")
    finish((*wtflow, "fit", place / "good", "--out", model, "--image-size", 96), place)
    where = "--out", "out", "--models", "models", "--cache", "cache", "--resume"
    flags = "--image-size", 128, "--width", 8, "--epochs", 6, "--steps-det", 1, "--seeds", 2
    moments = (
        Moment("features", "cache/features/*.part"),
        Moment("features done", "cache/features/*.safetensors"),
        Moment("training", "models/*/.lock", 4.0),
        Moment("checkpoint", "models/*/checkpoint/*tmp*"),
        Moment("scores", "models/*/cells/*.part"),
        Moment("between epochs", "models/*/cells/*.npz"),
        Moment("model", "models/*/*.safetensors*"),
        Moment("results", "out/**/*.part"),
    )
    maps = Moment("a map", "out/maps/**/*.png"), Moment("a map's part", "out/maps/**/*.part")
    experiment = ROOT / "experiments" / "mvtec.py", *flags, *where
    predict = *wtflow, "predict", model, place / "new", "--out", "out", "--resume"
    found = lambda place: predicted(place / "out")  # noqa: E731
    return {
        "experiment": (experiment, moments, trained, operator.eq),
        "predict": (predict, maps, found, alike),
    }


def main(kills: int = 60, images: int = 600, seed: int = 0, keep: Path | None = None) -> int:
    """Kill, compare and print a table.

    Args:
        kills: smallest number of kills.
        images: number of images to predict.
        seed: seed of the moments.
        keep: directory for runs that differ; left out: they are deleted.
    """
    # A shell's background jobs ignore SIGINT, and processes started here would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    draw, console, done, lost = random.Random(seed), Console(), 0, []
    table = Table("command", "killed at", "signal", "ended after, s")
    slow = tracebacks = 0
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        all_works, expected = works(root, images), {}
        for name, (command, _, found, _) in all_works.items():
            (root / name).mkdir()
            finish(command, root / name, root / "compiled")
            expected[name] = found(root / name)
        while done < kills:
            name = draw.choice(["experiment", "experiment", "predict"])
            (command, moments, found, right), place = all_works[name], root / f"trial-{done}"
            place.mkdir()
            for _ in range(draw.randint(1, 4)):
                some = Moment("any", None, draw.uniform(0.5, 25))
                moment = some if draw.random() < 0.3 else draw.choice(moments)
                number = draw.choice(SIGNALS)
                death = kill(command, place, moment, number, root / "compiled")
                if not death.hit:
                    break
                done += 1
                slow += number != signal.SIGKILL and death.seconds > LEAVING
                tracebacks += "Traceback" in death.stderr
                table.add_row(name, moment.name, number.name, f"{death.seconds:.1f}")
            try:
                finish(command, place, root / "compiled")
                same = right(found(place), expected[name]) and not left(place)
            except AssertionError as error:
                print(error, file=sys.stderr)
                same = False
            if not same:
                lost.append(f"{name}, {place.name}: {left(place)}")
                if keep:
                    shutil.copytree(place, keep / place.name)
            shutil.rmtree(place)
    console.print(table)
    console.print(f"{done} kills: {len(lost)} runs lost or different, {tracebacks} tracebacks,")
    console.print(f"{slow} ended after more than {LEAVING:.0f} s", *lost, markup=False)
    return int(bool(lost or slow or tracebacks))


if __name__ == "__main__":
    sys.exit(tyro.cli(main, description=__doc__))
