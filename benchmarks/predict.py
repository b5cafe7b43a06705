"""Is ``wtflow predict`` as fast as its compiled function, and does its memory stay constant?

    python benchmarks/predict.py MODEL IMAGES
    python benchmarks/predict.py MODEL IMAGES --images 10000

The first command compares images per second of the compiled function alone, on decoded windows,
with the whole way from files to rows, for each kind of map, in turn. The second predicts the given
number of images, cycling through the directory, and prints the resident memory along the way.
"""

import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from wtflow_jax.app import writing
from wtflow_jax.data import framing
from wtflow_jax.data.framing import Framed
from wtflow_jax.data.sources import find
from wtflow_jax.detector import model
from wtflow_jax.detector.route import Scorer
from wtflow_jax.support import compilation
from wtflow_jax.support.environment import CACHE

KINDS: tuple[writing.Kind, ...] = ("none", "overlay", "16bit")


@dataclass(frozen=True)
class Settings:
    """What to time."""

    model: Annotated[Path, tyro.conf.Positional]
    """Directory that wtflow fit has written."""
    directory: Annotated[str, tyro.conf.Positional]
    """Directory of images."""
    batch: int = 8
    """Windows per call."""
    rounds: int = 3
    """Rounds of all variants."""
    images: int | None = None
    """Number of images over which to measure the memory, instead of times."""


def whole(settings: Settings, loaded: model.Model, kind: writing.Kind) -> float:
    """Return images per second from files to rows."""
    paths = list(find(settings.directory))
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        at = loaded.colours, loaded.threshold.value
        results = writing.Results(Path(out) / "found", kind, *at)
        for _ in results.write(loaded.results(paths, settings.batch)):
            pass
        return len(paths) / (time.perf_counter() - start)


def alone(settings: Settings, windows: np.ndarray, scorer: Scorer) -> float:
    """Return windows per second of the compiled function."""
    start = time.perf_counter()
    for first in range(0, len(windows), settings.batch):
        scorer(windows[first : first + settings.batch])
    return len(windows) / (time.perf_counter() - start)


def resident() -> float:
    """Return the resident memory of this process in MiB."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096 / 2**20


def follow(settings: Settings, loaded: model.Model) -> Iterator[tuple[int, float]]:
    """Yield numbers of predicted images, and the memory at that point in MiB."""
    paths = itertools.islice(itertools.cycle(find(settings.directory)), settings.images)
    at = loaded.colours, loaded.threshold.value
    with tempfile.TemporaryDirectory() as out:
        results = writing.Results(Path(out) / "found", "none", *at)
        scored = loaded.results(paths, settings.batch)
        for i, _ in enumerate(results.write(scored), 1):
            if i in (100, 300, 1000, 3000, settings.images):
                yield i, resident()


def main(settings: Settings) -> None:
    """Time all variants and print a table, or follow the memory."""
    compilation.keep(CACHE / "compiled")
    loaded = model.load(settings.model)
    scorer = loaded.scorer(settings.batch)
    console = Console()
    if settings.images:
        for count, mib in follow(settings, loaded):
            console.print(f"{count} images: {mib:.0f} MiB")
        return
    framed = framing.framed(find(settings.directory), loaded.framing)
    windows = np.concatenate([one.windows for _, one in framed if isinstance(one, Framed)])
    alone(settings, windows, scorer)
    rates: dict[str, list[float]] = {name: [] for name in ("compiled alone", *KINDS)}
    for _ in range(settings.rounds):
        rates["compiled alone"].append(alone(settings, windows, scorer))
        for kind in KINDS:
            rates[kind].append(whole(settings, loaded, kind))
    table = Table(title=f"{len(windows)} windows, batch {settings.batch}")
    for column in ("what", "images/s", "of the compiled function alone"):
        table.add_column(column, justify="right" if column != "what" else "left")
    base = np.array(rates["compiled alone"])
    for name, found in rates.items():
        label = name if name == "compiled alone" else f"predict --maps {name}"
        share = np.median(np.array(found) / base)
        table.add_row(label, f"{np.median(found):.1f}", f"{share:.2f}")
    console.print(table)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
