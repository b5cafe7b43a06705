"""Shared code of benchmarks: runs peers in their own processes, in turn, and compares times."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

Figures = dict[str, float]


@dataclass(frozen=True)
class OnImages:
    """What to time on decoded images, beside models in torch."""

    peer_python: str = sys.executable
    """Python of the environment that has torchvision and anomalib."""
    weights: str | None = None
    """File of our ResNet-18; left out: a download. The peers' weights are random."""
    size: int = 512
    """Height and width of the images."""
    batches: tuple[int, ...] = (1, 8)
    """Images per call."""
    rounds: int = 3
    """Rounds of all peers."""
    repeats: int = 10
    """Timed calls per round, after two untimed calls."""
    json: Path | None = None
    """File for the figures."""
    worker: bool = False
    """Internal: time this library."""

    def in_torch(self, names: Mapping[str, str], images: int = 0) -> dict[str, list[str]]:
        """Return the commands of peers, by their labels in tables.

        Args:
            names: label to name in torch_peers.py.
            images: number of training images that the size of a memory bank is for.
        """
        script = str(Path(__file__).with_name("torch_peers.py"))
        rest = [str(number) for number in (self.size, images, self.repeats, *self.batches)]
        return {label: [self.peer_python, script, name, *rest] for label, name in names.items()}


def median_seconds(call: Callable[[], object], repeats: int, warm_up: int = 2) -> float:
    """Return the median time of a call that waits for its result."""
    seconds = []
    for i in range(repeats + warm_up):
        start = time.perf_counter()
        call()
        if i >= warm_up:
            seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def features_seconds(backbone: Any, size: int, batches: Sequence[int], repeats: int) -> Figures:
    """Return the median time of this library's features of decoded images, by batch."""
    from wtflow_jax.backbones import features

    figures = {}
    for batch in batches:
        shape = batch, size, size, 3
        images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        call = partial(features.compute, backbone, images, batch=batch)
        figures[f"batch {batch}"] = median_seconds(call, repeats)
    return figures


def age() -> float:
    """Return the seconds since this process began, including interpreter start (Linux)."""
    ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(ticks) / os.sysconf("SC_CLK_TCK")


def in_turn(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[Figures]]:
    """Run each peer once per round, one at a time so that they do not disturb each other.

    Args:
        commands: command of each peer; the last line of its output is its figures as JSON.
        rounds: number of rounds.
    """
    found: dict[str, list[Figures]] = {peer: [] for peer in commands}
    for _ in range(rounds):
        for peer, command in commands.items():
            found[peer].append(run(command))
    return found


def run(command: Sequence[str]) -> Figures:
    """Run a worker and return the figures on the last line of its output."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def ratios(
    found: dict[str, list[Figures]], ours: str, labels: dict[str, str], title: str
) -> tuple[Table, dict[str, Any]]:
    """Return a table of median times in ms and of the ratio ours / peer, and the same as data.

    Args:
        found: figures of each peer, one entry per round.
        ours: the name of this library among the peers.
        labels: name of a figure to its label in the table.
        title: title of the table.
    """
    table = Table(title=title, caption=f"medians of {len(found[ours])} rounds")
    table.add_column("")
    table.add_column("peer")
    for column in ("ours, ms", "the peer's", "ratio", "each round"):
        table.add_column(column, justify="right")
    data: dict[str, Any] = {}
    for key, label in labels.items():
        mine = np.array([figures[key] for figures in found[ours]])
        data[key] = {"ours": float(np.median(mine))}
        for peer, figures in found.items():
            if peer == ours or key not in figures[0]:
                continue
            theirs = np.array([one[key] for one in figures])
            ratio = float(np.median(mine) / np.median(theirs))
            data[key][peer] = {
                "seconds": float(np.median(theirs)),
                "ratio": ratio,
                "ratios": (mine / theirs).tolist(),
            }
            each = " ".join(f"{r:.2f}" for r in mine / theirs)
            times = f"{1e3 * np.median(mine):.1f}", f"{1e3 * np.median(theirs):.1f}"
            table.add_row(label, peer, *times, f"{ratio:.2f}", each)
    return table, data


def show(table: Table, data: Any, path: Path | None) -> None:
    """Print a table; write the data as JSON if a path is given."""
    Console().print(table)
    if path is not None:
        path.write_text(json.dumps(data, indent=1))
