"""Kills real commands at random moments, lets them go on, and compares with uninterrupted runs.

    python benchmarks/kills.py --kills 60

An experiment is killed while features are computed, while it trains, while a checkpoint or scores
are written, between epochs and while results are written; ``wtflow predict`` while it draws maps.
Each is killed a few times, by SIGKILL, SIGTERM or SIGINT, and goes on with ``--resume``; then its
parameters, scores a cell, maps, metrics and tables are compared bit for bit.
"""

import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro
from PIL import Image
from rich.console import Console
from rich.table import Table

from killing import LEAVING, ROOT, SIGNALS, Death, Moment, files, finish, kill, left, trained
from wtflow_jax.support.progress import bars

IN_A_ROW = 4
"""Kills of one run at most, before it may finish."""


class Work(NamedTuple):
    """A command that is killed: its arguments, its moments, and what it leaves that counts."""

    name: str
    command: tuple[Any, ...]
    moments: tuple[Moment, ...]
    found: Callable[[Path], dict[str, Any]]


def works(place: Path) -> list[Work]:
    """Prepare a model and images below a directory, and return what is killed."""
    rng = np.random.default_rng(0)
    grain = rng.integers(0, 60, (600, 96, 96, 3), np.uint8)
    for i, pixels in enumerate(grain):
        path = place / ("good" if i < 20 else "new") / f"{i:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels + np.uint8(90)).save(path)
    model = place / "model"
    fit = "-m", "wtflow_jax", "fit", place / "good", "--out", model, "--image-size", 96
    finish(fit, place, place / "compiled")
    mvtec = ROOT / "experiments" / "mvtec.py"
    flags = "--image-size", 128, "--width", 8, "--epochs", 6, "--steps-det", 1, "--seeds", 2
    where = "--out", "out", "--models", "models", "--cache", "cache", "--resume"
    predict = "-m", "wtflow_jax", "predict", model, place / "new", "--out", "out", "--resume"
    return [
        Work(
            "experiment",
            (mvtec, *flags, *where, "--validation", 0.2),
            (
                Moment("features", "cache/features/*.part"),
                Moment("features done", "cache/features/*.safetensors"),
                Moment("training", "models/*/.lock", 2.0),
                Moment("training", "models/*/.lock", 6.0),
                Moment("checkpoint", "models/*/checkpoint/*tmp*"),
                Moment("checkpoint", "models/*/checkpoint/*tmp*", 0.01),
                Moment("scores", "models/*/cells/*.part"),
                Moment("between epochs", "models/*/cells/*.npz"),
                Moment("model done", "models/*/trained.safetensors"),
                Moment("results", "out/texture*/*"),
                Moment("results", "out/results.json.*.part"),
            ),
            trained,
        ),
        Work(
            "predict",
            predict,
            (Moment("a map", "out/maps/**/*.png"), Moment("a map's part", "out/maps/**/*.part")),
            lambda place: files(place / "out"),
        ),
    ]


def main(kills: int = 60, seed: int = 0, keep: Path | None = None) -> int:
    """Kill, compare and print a table.

    Args:
        kills: at least so many.
        seed: of the moments.
        keep: directory for runs that differ; left out: they are deleted.
    """
    # A shell has its background jobs ignore it, and so would all that is started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rng, deaths, lost = random.Random(seed), [], []
    seconds = {number: 0.0 for number in SIGNALS}
    with tempfile.TemporaryDirectory() as directory, bars() as progress:
        root = Path(directory)
        task = progress.add_task("kills", total=kills, note="uninterrupted runs first")
        all_works = works(root)
        expected = {}
        for work in all_works:
            place = root / work.name
            place.mkdir()
            finish(work.command, place, root / "compiled")
            expected[work.name] = work.found(place)
        while len(deaths) < kills:
            # Two experiments, then one of the other.
            work = all_works[len(expected) % 3 == 2]
            expected[f"trial {len(expected)}"] = {}
            place = root / f"trial-{len(expected)}"
            place.mkdir()
            for _ in range(rng.randint(1, IN_A_ROW)):
                moment = rng.choice(work.moments)
                if rng.random() < 0.3:
                    moment = Moment("any", None, rng.uniform(0.5, 25))
                death = kill(work.command, place, moment, rng.choice(SIGNALS), root / "compiled")
                if not death.hit:
                    break
                deaths.append((work.name, death))
                seconds[death.number] = max(seconds[death.number], death.seconds)
                progress.update(task, advance=1, note=f"{work.name}: {death.moment.name}")
            try:
                told = finish(work.command, place, root / "compiled")
                same = work.found(place) == expected[work.name]
            except AssertionError as error:
                told, same = str(error), False
            if not same or left(place):
                lost.append((work.name, place.name, left(place), told))
                if keep:
                    shutil.copytree(place, keep / place.name)
            shutil.rmtree(place)
    show(deaths, lost, seconds)
    return int(bool(lost) or max(seconds[number] for number in SIGNALS[1:]) > LEAVING)


def show(deaths: list[tuple[str, Death]], lost: list[Any], seconds: dict[Any, float]) -> None:
    """Print how often what was killed, and what was lost."""
    names = [signal.Signals(number).name for number in SIGNALS]
    table = Table("command", "killed at", *names)
    counts = Counter((work, death.moment.name, death.number.name) for work, death in deaths)
    for work, moment in dict.fromkeys((work, death.moment.name) for work, death in deaths):
        table.add_row(work, moment, *(str(counts[work, moment, name]) for name in names))
    console = Console()
    console.print(table)
    for number, most in seconds.items():
        console.print(f"{signal.Signals(number).name}: gone after {most:.1f} s at most")
    tracebacks = [death.stderr for _, death in deaths if "Traceback" in death.stderr]
    console.print(f"{len(deaths)} kills, {len(lost)} runs lost or different")
    console.print(f"{len(tracebacks)} tracebacks, the first: {tracebacks[:1]}", markup=False)
    for work in lost:
        console.print(*work, markup=False)


if __name__ == "__main__":
    sys.exit(tyro.cli(main, description=__doc__))
