"""Do exported models return the same scores as wtflow, and how fast are they?

    wtflow fit mvtec_ad/bottle/train/good --out model
    python benchmarks/exported.py model mvtec_ad/bottle/test

The model is exported to a temporary directory in both formats; ONNX is skipped if it is not
installed. All score the same windows, the first of each image; windows need no rescaling. Reported
are the largest differences from the program of ``wtflow predict`` over all windows: of scores,
relative to their range; of pixels, relative to the range of all maps, also as 99.9th percentile.
Times are medians over rounds; the programs run in turn.
"""

import sys
import tempfile
import time
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
from wtflow_jax.data import framing
from wtflow_jax.data.framing import Framed
from wtflow_jax.data.sources import find
from wtflow_jax.detector import model
from wtflow_jax.support.compilation import XLA_OPTIONS
from wtflow_jax.support.errors import WTFlowError

Score = Callable[[np.ndarray], Any]
ROUTE = "wtflow predict"


@dataclass(frozen=True)
class Settings:
    """What to compare."""

    model: Annotated[Path, tyro.conf.Positional]
    """Directory that wtflow fit has written."""
    images: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Images, as for wtflow predict."""
    batch: int = 8
    """Windows per call."""
    rounds: int = 10
    """Timed rounds of all programs."""


def scorers(loaded: model.Model, batch: int, directory: Path) -> dict[str, Score]:
    """Return the functions that score a batch, by name; that of ``wtflow predict`` first."""
    path = directory / "model.stablehlo"
    export.export(loaded, path)
    with zipfile.ZipFile(path) as file:
        program = jax.export.deserialize(bytearray(file.read(export.PROGRAM)))
    plain, options = jax.jit(program.call), jax.jit(program.call, compiler_options=XLA_OPTIONS)
    found: dict[str, Score] = {
        ROUTE: loaded.scorer(batch),
        "StableHLO": lambda rgb: jax.device_get(plain(rgb=rgb)[:2]),
        "StableHLO, options of the route": lambda rgb: jax.device_get(options(rgb=rgb)[:2]),
    }
    try:
        path = directory / "model.onnx"
        export.export(loaded, path)
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        found["ONNX Runtime"] = lambda rgb: session.run(["scores", "maps"], {"rgb": rgb})
    except (WTFlowError, ImportError) as error:
        print(f"ONNX is skipped: {error}", file=sys.stderr)
    return found


def main(settings: Settings) -> None:
    """Compare and print a table."""
    loaded = model.load(settings.model)
    framed = [
        image.windows[0]
        for _, image in framing.framed(find(settings.images), loaded.framing)
        if isinstance(image, Framed)
    ]
    batches = [
        np.stack(framed[i : i + settings.batch])
        for i in range(0, len(framed) - settings.batch + 1, settings.batch)
    ]
    with tempfile.TemporaryDirectory() as directory:
        by_name = scorers(loaded, settings.batch, Path(directory))
        results = {
            name: [np.concatenate(part) for part in zip(*map(score, batches), strict=True)]
            for name, score in by_name.items()
        }
        seconds: dict[str, list[float]] = {name: [] for name in by_name}
        for _ in range(settings.rounds):
            for name, score in by_name.items():
                start = time.perf_counter()
                score(batches[0])
                seconds[name].append(time.perf_counter() - start)
    columns = "", "score", "map", "map, 99.9 %", f"ms, {settings.batch} windows"
    table = Table(*columns, title=f"{len(batches) * settings.batch} windows")
    expected = results[ROUTE]
    for name, found in results.items():
        score, maps = (np.abs(a - b) / np.ptp(b) for a, b in zip(found, expected, strict=True))
        differences = score.max(), maps.max(), np.percentile(maps, 99.9)
        cells = [f"{value:.1e}" for value in differences]
        table.add_row(name, *cells, f"{1000 * np.median(seconds[name]):.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main(tyro.cli(Settings))
