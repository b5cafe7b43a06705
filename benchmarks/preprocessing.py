"""How many decisions differ if images are prepared outside an exported model?

    wtflow fit mvtec_3d/tire/train/good --image-size 256 --out model
    python benchmarks/preprocessing.py model --good mvtec_3d/tire/test/good \\
        --defective mvtec_3d/tire/test/hole

The StableHLO program gets images in three ways: as decoded, so that it scales them itself; with
blue first; and already scaled to the model's window by OpenCV (if installed). Each decision is
compared with that of ``wtflow predict``.
"""

import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.export
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from wtflow_jax.app import export
from wtflow_jax.data import find, open_image
from wtflow_jax.detector import model
from wtflow_jax.support.compilation import XLA_OPTIONS

Prepare = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Settings:
    """What to compare."""

    model: Annotated[Path, tyro.conf.Positional]
    """Directory that wtflow fit has written."""
    good: tuple[str, ...]
    """Good images, as for wtflow predict."""
    defective: tuple[str, ...]
    """Defective images."""


def ways(size: tuple[int, int]) -> dict[str, Prepare]:
    """Return the functions that prepare images, by name."""
    found: dict[str, Prepare] = {"as decoded": lambda x: x, "blue first": lambda x: x[..., ::-1]}
    try:
        import cv2  # pyright: ignore[reportMissingImports]
    except ImportError:
        print("OpenCV is not installed: scaling by OpenCV is skipped", file=sys.stderr)
        return found
    for name, how in (("linear", cv2.INTER_LINEAR), ("area", cv2.INTER_AREA)):
        found[f"scaled by OpenCV ({name})"] = lambda x, how=how: cv2.resize(
            x, size[::-1], interpolation=how
        )
    return found


def main(settings: Settings) -> None:
    """Compare and print a table."""
    loaded = model.load(settings.model)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.stablehlo")
        export.export(loaded, path)
        with zipfile.ZipFile(path) as file:
            program = jax.export.deserialize(bytearray(file.read(export.PROGRAM)))
    call: Any = jax.jit(program.call, compiler_options=XLA_OPTIONS)
    kinds = {
        kind: [*find(list(given))]
        for kind, given in (("good", settings.good), ("defective", settings.defective))
    }
    expected = {
        kind: [bool(result.defective) for result in loaded.results(files)]
        for kind, files in kinds.items()
    }
    table = Table("given", *(f"{kind}, of {len(files)}" for kind, files in kinds.items()))
    for name, prepare in ways(loaded.framing.size).items():
        differ = []
        for kind, files in kinds.items():
            found = []
            for file in files:
                pixels = prepare(np.asarray(open_image(file, loaded.framing.white)))
                score = call(rgb=np.ascontiguousarray(pixels)[None])[0]
                found.append(bool(np.asarray(score)[0] > loaded.threshold.value))
            differ.append(sum(a != b for a, b in zip(found, expected[kind], strict=True)))
        table.add_row(name, *map(str, differ))
    Console(width=100).print(table)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
