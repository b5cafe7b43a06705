"""How long from an image to its score, beside anomalib's FastFlow, PatchCore and PaDiM?

    python benchmarks/image_to_score.py --peer-python peer/bin/python
    python benchmarks/image_to_score.py --peer-python peer/bin/python --peers fastflow

All take decoded RGB images of the same size, normalise them, run a ResNet-18 and give scores and
maps. Ours is one compiled function (``wtflow_jax.pipeline``) with one Euler step. Images and the
peers' weights are random, which changes no time; PatchCore's memory bank is as large as that of
``--images`` training images at a coreset of 0.1, PaDiM's statistics as for this size. At
16 images PatchCore would need a distance matrix of 22 GB and is left out. anomalib 2.7 is asked for
in an environment of its own, whose Python ``--peer-python`` names.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

import peers

Peer = Literal["fastflow", "patchcore", "padim"]


@dataclass(frozen=True)
class Settings:
    """What is timed."""

    peers: tuple[Peer, ...] = ("fastflow", "patchcore", "padim")
    """Models of anomalib."""
    peer_python: str = sys.executable
    """Python of the environment that has anomalib."""
    weights: str | None = None
    """Of our ResNet-18; left out: a download. The peers' are random, which changes no time."""
    size: int = 512
    """Height and width of the images."""
    width: int = 64
    """Of our network."""
    batches: tuple[int, ...] = (1, 16)
    """Images a call."""
    images: int = 209
    """Training images of the memory bank: bottle's number."""
    rounds: int = 3
    """Rounds of all peers."""
    repeats: int = 10
    """Timed calls a round, after two that are not."""
    json: Path | None = None
    """Where to write the figures."""
    worker: bool = False
    """Used by the benchmark itself: be the one that is ours."""


def ours(settings: Settings) -> peers.Figures:
    """Time this library, and the first score of this process."""
    started = time.perf_counter()
    import jax

    from wtflow_jax import backbones, compilation, detector, pipeline
    from wtflow_jax.config import CACHE, Config

    compilation.keep(CACHE / "compiled")
    config = Config(backbone="resnet18", width=settings.width, steps_det=1)
    backbone = backbones.load("resnet18", weights=settings.weights, cache=CACHE)
    size = settings.size, settings.size
    cells = settings.size // 32
    features = np.random.default_rng(0).standard_normal((2, cells, cells, 256), np.float32)
    fitted, _ = detector.init(config, jax.numpy.asarray(features))
    figures = {}
    for batch in settings.batches:
        begun = time.perf_counter()
        scorer = pipeline.compile(backbone, fitted, config, size, batch=batch)
        shape = batch, *size, 3
        images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        scorer(images)
        figures[f"compile {batch}"] = time.perf_counter() - begun
        figures.setdefault("first score", time.perf_counter() - started)
        call = lambda: scorer(images)  # noqa: B023, E731
        figures[f"batch {batch}"] = peers.median_seconds(call, settings.repeats)
    return figures


def main(settings: Settings) -> None:
    if settings.worker:
        print(json.dumps(ours(settings)))
        return
    script = str(Path(__file__).with_name("torch_peers.py"))
    numbers = settings.size, settings.images, settings.repeats, *settings.batches
    commands = {"ours": [sys.executable, __file__, *sys.argv[1:], "--worker"]} | {
        name: [settings.peer_python, script, name, *map(str, numbers)] for name in settings.peers
    }
    found = peers.in_turn(commands, settings.rounds)
    labels = {f"batch {n}": f"images to scores, batch {n}" for n in settings.batches}
    title = f"ResNet-18, {settings.size}²: ms a call"
    table, data = peers.ratios(found, "ours", labels, title)
    data["first score"] = [figures["first score"] for figures in found["ours"]]
    peers.show(table, data, settings.json)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
