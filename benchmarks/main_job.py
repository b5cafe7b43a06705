"""How long from images on disk to results, including process start, beside anomalib's PaDiM?

    python benchmarks/main_job.py --root mvtec_ad --weights resnet18.safetensors \\
        --peer-python peer/bin/python

Ours is ``experiments/mvtec.py`` on one category with an empty cache: features, training, ten
evaluations of 20 Euler steps, all metrics and pictures. PaDiM trains nothing: it fits Gaussians to
the same images and scores the same test images. Its weights are random, which does not affect
times. Left out: FastFlow, which trains on whole images, and PatchCore, whose coreset picks 85,600
of 856,000 patches one at a time.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

import peers


@dataclass(frozen=True)
class Settings:
    """What to time."""

    root: Path
    """Directory in MVTec AD's layout."""
    category: str = "bottle"
    """The category."""
    weights: str | None = None
    """File of our ResNet-18; left out: a download, whose time counts."""
    peer_python: str = sys.executable
    """Python of the environment that has anomalib."""
    rounds: int = 1
    """Rounds of both."""
    json: Path | None = None
    """File for the figures."""


def timed(command: list[str]) -> peers.Figures:
    """Run a command; return its seconds and the peak memory of the largest process so far."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {"job": seconds, "gigabytes": peak / 2**20}


def ours(settings: Settings) -> peers.Figures:
    """Run the experiment; return also its seconds of training and evaluation."""
    script = Path(__file__).parents[1] / "experiments" / "mvtec.py"
    flags = ["--root", str(settings.root), "--categories", settings.category]
    flags += ["--backbone", "resnet18"]
    if settings.weights:
        flags += ["--weights", settings.weights]
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory)
        for place in ("cache", "models", "out"):
            flags += [f"--{place}", str(out / place)]
        found = timed([sys.executable, str(script), *flags])
        (row,) = json.loads((out / "out" / "results.json").read_text())["rows"]
    history = row["history"]
    for part in ("train", "evaluate"):
        found[part] = sum(entry.get(f"seconds_{part}", 0) for entry in history)
    return found


def main(settings: Settings) -> None:
    """Run the rounds and print the table."""
    script = str(Path(__file__).with_name("torch_peers.py"))
    job = settings.peer_python, script, "job", str(settings.root / settings.category), "512"
    found: dict[str, list[peers.Figures]] = {"ours": [], "PaDiM": []}
    for _ in range(settings.rounds):
        found["ours"].append(ours(settings))
        found["PaDiM"].append(timed(list(job)))
    table, data = peers.ratios(found, "ours", {"job": "images to results"}, settings.category)
    data["ours"] = found["ours"]
    first = found["ours"][0]
    table.caption = (
        f"{table.caption}; of ours, training {first['train']:.0f} s, evaluations "
        f"{first['evaluate']:.0f} s; {first['gigabytes']:.2f} GB at most"
    )
    peers.show(table, data, settings.json)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
