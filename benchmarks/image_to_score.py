"""How long does it take from image to score, beside anomalib's FastFlow, PatchCore and PaDiM?

    python benchmarks/image_to_score.py --peer-python peer/bin/python
    python benchmarks/image_to_score.py --peer-python peer/bin/python --peers fastflow

All take decoded RGB images of the same size, normalise them, run a ResNet-18 and return scores and
maps. Ours is one compiled route (``wtflow_jax.detector.route``) with one Euler step. Images and the
peers' weights are random, which does not affect times. PatchCore's memory bank has the size for
``--images`` training images at a coreset of 0.1; PaDiM's statistics have the size for these images.
At batch 16 PatchCore would need a distance matrix of 22 GB and is left out. anomalib 2.7 needs its
own environment; ``--peer-python`` names its Python.
"""

import json
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

import peers

Peer = Literal["fastflow", "patchcore", "padim"]


@dataclass(frozen=True)
class Settings(peers.OnImages):
    """What to time."""

    peers: tuple[Peer, ...] = ("fastflow", "patchcore", "padim")
    """Models of anomalib."""
    width: int = 64
    """Width of our network."""
    batches: tuple[int, ...] = (1, 16)
    """Images per call."""
    images: int = 209
    """Training images of the memory bank; bottle has 209."""
    model: Path = Path("model.npz")
    """Internal: the weights of our network."""


def config_of(settings: Settings) -> Any:
    """Return the config to time."""
    from wtflow_jax.detector.config import configure

    return configure(backbone="resnet18", width=settings.width, steps_det=1)


def draw(settings: Settings) -> None:
    """Write initial weights of a network, in place of trained ones."""
    import jax
    from flax.traverse_util import flatten_dict

    from wtflow_jax.detector import detector

    cells = settings.size // 32
    fitted, _ = detector.init(config_of(settings), jax.numpy.zeros((2, cells, cells, 256)))
    np.savez(settings.model, **flatten_dict(fitted.params, sep="/"))  # pyright: ignore[reportArgumentType]


def ours(settings: Settings) -> peers.Figures:
    """Time this library, and the time from process start to the first score."""
    from flax.traverse_util import unflatten_dict

    from wtflow_jax import backbones
    from wtflow_jax.detector import route
    from wtflow_jax.detector.detector import Detector
    from wtflow_jax.support import compilation
    from wtflow_jax.support.environment import CACHE

    compilation.keep(CACHE / "compiled")
    backbone = backbones.load("resnet18", weights=settings.weights, cache=CACHE)
    size = settings.size, settings.size
    with np.load(settings.model) as file:
        fitted = Detector(config_of(settings), unflatten_dict(dict(file), sep="/"), ())
    figures = {}
    for batch in settings.batches:
        scorer = route.scorer(backbone, fitted, size, batch)
        shape = batch, *size, 3
        images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        scorer(images)
        figures.setdefault("first score", peers.age())
        call = lambda: scorer(images)  # noqa: B023, E731
        figures[f"batch {batch}"] = peers.median_seconds(call, settings.repeats)
    return figures


def main(settings: Settings) -> None:
    if settings.worker:
        print(json.dumps(ours(settings)))
        return
    torch = settings.in_torch({name: name for name in settings.peers}, settings.images)
    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory, "model.npz")
        draw(replace(settings, model=model))
        own = [sys.executable, __file__, *sys.argv[1:], "--model", str(model), "--worker"]
        found = peers.in_turn({"ours": own, **torch}, settings.rounds)
    labels = {f"batch {n}": f"images to scores, batch {n}" for n in settings.batches}
    title = f"ResNet-18, {settings.size}²: ms a call"
    table, data = peers.ratios(found, "ours", labels, title)
    firsts = data["first score"] = [figures["first score"] for figures in found["ours"]]
    seconds = " ".join(f"{first:.1f}" for first in firsts)
    table.caption = f"{table.caption}; first score of a process after {seconds} s"
    peers.show(table, data, settings.json)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
