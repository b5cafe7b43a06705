"""Do all pixel metrics of a test set fit a laptop, and how fast is AUROC beside scikit-learn's?

    python benchmarks/metrics.py                # MVTec AD's test set: 1,725 images of 512 × 512
    python benchmarks/metrics.py --images 0     # only the AUROC
    python benchmarks/metrics.py --images 0 --peer-python peer/bin/python   # and AUPIMO

Scores are float32 noise, about one σ higher on defects: up to three ellipses in 75 % of the images,
about 3 % of all pixels. The first part times `measure`, including labelling, in its own process;
its peak memory includes inputs and imports. The second times AUROC and scikit-learn's on the same
arrays in the same process, in turn. The third compares AUPIMO with that of anomalib 2.7, which
needs its own environment.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

import peers as processes
from wtflow_jax import metrics

PEER = """
import json, sys, time
from types import SimpleNamespace
import numpy as np, torch
from anomalib.metrics import AUPIMO
scores, masks = (torch.from_numpy(np.load(path)) for path in sys.argv[1:3])
start = time.perf_counter()
metric = AUPIMO()
metric.update(SimpleNamespace(anomaly_map=scores, gt_mask=masks.int()))
value = float(metric.compute())
print(json.dumps({"seconds": time.perf_counter() - start, "value": value}))
"""


@dataclass(frozen=True)
class Settings:
    """What to time."""

    images: int = 1725
    """Images of the whole test set; 0 skips this part."""
    peer_images: int = 83
    """Images for the comparisons with scikit-learn and anomalib."""
    size: int = 512
    """Height and width of the images."""
    peer_python: str | None = None
    """Python of the environment that has anomalib; left out: AUPIMO is not compared."""
    rounds: int = 3
    """Rounds of both peers."""
    json: Path | None = None
    """File for the figures."""
    worker: Literal["all", "peer"] | None = None
    """Internal: run as one of the parts."""


def inputs(images: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random scores and masks (n, size, size)."""
    rng = np.random.default_rng(0)
    scores = np.empty((images, size, size), np.float32)
    masks = np.zeros(scores.shape, bool)
    grid = np.arange(size, dtype=np.float32)
    for index, (score, mask) in enumerate(zip(scores, masks, strict=True)):
        rng.standard_normal(out=score, dtype=np.float32)
        if index % 4:  # every fourth is good
            for _ in range(rng.integers(1, 4)):
                y, x = rng.uniform(0, size, 2)
                a, b = size * rng.uniform(0.02, 0.14, 2)
                mask |= ((grid[:, None] - y) / a) ** 2 + ((grid - x) / b) ** 2 < 1
            score[mask] += rng.uniform(0, 2)
    return scores, masks


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def whole_set(settings: Settings) -> dict[str, Any]:
    """Time all pixel metrics together, with the peak memory of this process."""
    scores, masks = inputs(settings.images, settings.size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    labelling, regions = timed(lambda: metrics.label_regions(masks))
    seconds, values = timed(lambda: metrics.measure("pixel", scores, masks, regions))
    return {
        "defective": float(masks.mean()),
        "regions": len(regions.areas),
        "labelling_seconds": labelling,
        "seconds": labelling + seconds,
        "inputs_gigabytes": before / 2**20,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "values": values,
    }


def peers(settings: Settings) -> dict[str, Any]:
    """Time our AUROC and scikit-learn's, in turn."""
    from sklearn.metrics import roc_auc_score

    scores, masks = inputs(settings.peer_images, settings.size)
    rounds = []
    for _ in range(settings.rounds):
        ours, value = timed(lambda: metrics.auroc(scores, masks))
        theirs, expected = timed(lambda: roc_auc_score(masks.ravel(), scores.ravel()))
        rounds.append({"ours": ours, "sklearn": theirs, "error": abs(value - expected)})
    return {"rounds": rounds}


def aupimo(settings: Settings, peer_python: str) -> list[dict[str, float]]:
    """Time our AUPIMO and anomalib's, in turn."""
    scores, masks = inputs(settings.peer_images, settings.size)
    rounds = []
    with tempfile.TemporaryDirectory() as directory:
        paths = [str(Path(directory, name)) for name in ("scores.npy", "masks.npy")]
        for path, array in zip(paths, (scores, masks), strict=True):
            np.save(path, array)
        for _ in range(settings.rounds):
            ours, value = timed(lambda: metrics.aupimo(scores, masks))
            peer = processes.run([peer_python, "-c", PEER, *paths])
            error = abs(value - peer["value"])
            rounds.append({"ours": ours, "anomalib": peer["seconds"], "error": error})
    return rounds


def main(settings: Settings) -> None:
    if settings.worker:
        print(json.dumps((whole_set if settings.worker == "all" else peers)(settings)))
        return
    results = {}
    for worker in ("all", "peer") if settings.images else ("peer",):
        command = [sys.executable, __file__, *sys.argv[1:], "--worker", worker]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results[worker] = json.loads(done.stdout.splitlines()[-1])
    if settings.images:
        console_all(settings, results["all"])
    console_peers(settings, "AUROC", "sklearn", results["peer"]["rounds"])
    if settings.peer_python:
        results["aupimo"] = aupimo(settings, settings.peer_python)
        console_peers(settings, "AUPIMO", "anomalib", results["aupimo"])
    if settings.json:
        settings.json.write_text(
            json.dumps({"settings": asdict(settings), **results}, indent=2, default=str)
        )


def console_all(settings: Settings, result: dict[str, Any]) -> None:
    table = Table(title=f"all pixel metrics of {settings.images} images of {settings.size}²")
    for heading in ("seconds", "of them labelling", "peak GB", "of them inputs", "defects"):
        table.add_column(heading, justify="right")
    table.add_row(
        f"{result['seconds']:.1f}",
        f"{result['labelling_seconds']:.1f}",
        f"{result['gigabytes']:.2f}",
        f"{result['inputs_gigabytes']:.2f}",
        f"{result['regions']} ({result['defective']:.1%} of pixels)",
    )
    values = {k: "undefined" if v is None else f"{v:.4f}" for k, v in result["values"].items()}
    table.caption = ", ".join(f"{name} {value}" for name, value in values.items())
    Console().print(table)


def console_peers(
    settings: Settings, metric: str, peer: str, rounds: list[dict[str, float]]
) -> None:
    ours, theirs = (np.array([r[name] for r in rounds]) for name in ("ours", peer))
    table = Table(title=f"{metric} of {settings.peer_images} images of {settings.size}²")
    for heading in ("ours, s", f"{peer}, s", "ratio", "rounds", "difference"):
        table.add_column(heading, justify="right")
    table.add_row(
        f"{np.median(ours):.3f}",
        f"{np.median(theirs):.2f}",
        f"{np.median(ours / theirs):.3f}",
        " ".join(f"{ratio:.3f}" for ratio in ours / theirs),
        f"{max(r['error'] for r in rounds):.0e}",
    )
    Console().print(table)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
