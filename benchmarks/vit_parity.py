"""Do DINOv2 and DINOv3 agree with timm and transformers, at every block?

    python benchmarks/vit_parity.py --peer-python peer/bin/python

A process with torch, timm and transformers writes random weights in both libraries' formats; they
are read here from both, and patch tokens are compared. The error is the largest difference over the
largest value; it must be at most 1e-4. DINOv2's positions are resized as by its authors, in torch.
transformers resizes them differently, so it is compared only at the size without resizing.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from wtflow_jax import backbones
from wtflow_jax.backbones import vit_dino

TOLERANCE = 1e-4
SIZES = {14: ("224x336", "518x518"), 16: ("256x384", "448x448")}
"""Image sizes by patch side; 518 pixels are the 37 patches of the learned positions."""


@dataclass(frozen=True)
class Settings:
    """What to compare."""

    peer_python: str = sys.executable
    """Python of the environment that has torch, timm and transformers."""
    names: tuple[str, ...] = tuple(vit_dino.ARCHITECTURES)
    """Names of backbones."""
    json: Path | None = None
    """File for the figures."""


def errors(name: str, place: Path, sizes: tuple[str, ...]) -> dict[str, float]:
    """Return the largest error by library and size, over all blocks."""
    depth, found = vit_dino.ARCHITECTURES[name].depth, {}
    files = {"timm": "timm.pth", "transformers": "transformers/model.safetensors"}
    for library, file in files.items():
        given = {"weights": str(place / file), "cache": place}
        backbone = backbones.load(name, layer=range(depth), **given)
        for size in sizes:
            theirs = np.load(place / f"{size}.npz")
            if f"{library} 0" not in theirs:
                continue
            images = backbones.normalise(theirs["picture"])
            worst = 0.0
            for i, ours in enumerate(backbone.apply(backbone.params, images)):
                expected = theirs[f"{library} {i}"]
                assert ours.shape == expected.shape, (name, library, i)
                worst = max(worst, float(np.abs(ours - expected).max() / np.abs(expected).max()))
            found[f"{library} {size}"] = worst
    return found


def main(settings: Settings) -> None:
    script, data = str(Path(__file__).with_name("vit_peers.py")), {}
    for name in settings.names:
        sizes = SIZES[vit_dino.ARCHITECTURES[name].patch]
        with tempfile.TemporaryDirectory() as place:
            command = [settings.peer_python, script, "parity", name, place, *sizes]
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            data[name] = errors(name, Path(place), sizes)
        print(name, " ".join(f"{what}: {worst:.1e}" for what, worst in data[name].items()))
    table = Table("", "timm", "transformers", title="largest error over all blocks and sizes")
    for name, found in data.items():
        row = [
            max(worst for what, worst in found.items() if what.startswith(library))
            for library in ("timm", "transformers")
        ]
        table.add_row(name, *(f"{worst:.1e}" for worst in row))
    Console().print(table)
    if settings.json:
        settings.json.write_text(json.dumps(data, indent=1))
    worst = max(max(found.values()) for found in data.values())
    sys.exit(f"{worst:.1e} is more than {TOLERANCE}" if worst > TOLERANCE else 0)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
