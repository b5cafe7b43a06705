"""Is a vision transformer slower than timm's in torch, on the same images?

    python benchmarks/vit_speed.py --peer-python peer/bin/python
    python benchmarks/vit_speed.py --peer-python peer/bin/python --name dinov3_vits16

From decoded images to the patch tokens of the last block, beside timm's model in eager torch, with
the same random weights.
"""

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro

import peers


@dataclass(frozen=True)
class Settings:
    """What to time."""

    peer_python: str = sys.executable
    """Python of the environment that has torch, timm and transformers."""
    name: str = "dinov2_vits14"
    """Name of the backbone."""
    size: int = 448
    """Height and width of the images."""
    batches: tuple[int, ...] = (1, 8)
    """Images per call."""
    rounds: int = 3
    """Rounds of both."""
    repeats: int = 5
    """Timed calls per round, after two untimed calls."""
    json: Path | None = None
    """File for the figures."""
    worker: Path | None = None
    """Internal: time this library with these weights."""


def ours(settings: Settings) -> peers.Figures:
    """Time this library."""
    from wtflow_jax import backbones
    from wtflow_jax.support.environment import CACHE

    backbone = backbones.load(settings.name, weights=str(settings.worker), cache=CACHE)
    return peers.features_seconds(backbone, settings.size, settings.batches, settings.repeats)


def main(settings: Settings) -> None:
    if settings.worker:
        print(json.dumps(ours(settings)))
        return
    with tempfile.TemporaryDirectory() as place:
        weights = str(Path(place, "weights.pth"))
        script = str(Path(__file__).with_name("vit_peers.py"))
        rest = [str(n) for n in (settings.size, settings.repeats, *settings.batches)]
        # timm first: it draws the weights.
        commands = {
            "timm": [settings.peer_python, script, "speed", settings.name, weights, *rest],
            "ours": [sys.executable, __file__, *sys.argv[1:], "--worker", weights],
        }
        found = peers.in_turn(commands, settings.rounds)
    labels = {f"batch {n}": f"features, batch {n}" for n in settings.batches}
    title = f"{settings.name}, {settings.size}²: ms a call"
    peers.show(*peers.ratios(found, "ours", labels, title), settings.json)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
