"""Do all pixel metrics of a whole test set fit a laptop, and how far is scikit-learn's AUROC?

    python benchmarks/metrics.py                # MVTec AD's test set: 1,725 images of 512 × 512
    python benchmarks/metrics.py --images 0     # the AUROC alone

Scores are float32 noise, about one σ higher on defects: up to three ellipses in 73 % of the images,
about 3 % of all pixels. The first part times `measure`, labelling included, in a process of
its own: its peak memory counts the inputs and all it imported. The second times AUROC and
scikit-learn's on the same arrays in the same process, in turn.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from wtflow_jax import metrics


@dataclass(frozen=True)
class Settings:
    """What is timed."""

    images: int = 1725
    """Images of the whole test set; 0 leaves it away."""
    peer_images: int = 83
    """Images of which scikit-learn's AUROC is timed too."""
    size: int = 512
    """Their height and width."""
    rounds: int = 3
    """Rounds of both peers."""
    json: Path | None = None
    """Where to write the figures."""
    worker: Literal["all", "peer"] | None = None
    """Used by the benchmark itself: be one of the parts."""


def inputs(images: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and masks, made image by image."""
    rng = np.random.default_rng(0)
    scores = np.empty((images, size, size), np.float32)
    masks = np.zeros(scores.shape, bool)
    grid = np.arange(size, dtype=np.float32)
    for score, mask in zip(scores, masks, strict=True):
        rng.standard_normal(out=score, dtype=np.float32)
        if rng.random() < 0.73:
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
    console_peers(settings, results["peer"]["rounds"])
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
    table.caption = ", ".join(f"{name} {value:.4f}" for name, value in result["values"].items())
    Console().print(table)


def console_peers(settings: Settings, rounds: list[dict[str, float]]) -> None:
    ours, theirs = (np.array([r[name] for r in rounds]) for name in ("ours", "sklearn"))
    table = Table(title=f"AUROC of {settings.peer_images} images of {settings.size}²")
    for heading in ("ours, s", "scikit-learn, s", "ratio", "rounds", "difference"):
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
