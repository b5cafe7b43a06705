"""Does memory stay flat while one process goes through many categories?

    python benchmarks/soak.py                          # the experiment, 24 categories
    python benchmarks/soak.py --mode wtflow            # fit, predict and evaluate of each
    python benchmarks/soak.py --mode wtflow --no-forget
    python benchmarks/soak.py -- --velocity exact --wt whiten

The categories are made here, in MVTec AD's layout, each with a texture and numbers of images of its
own. After each are noted the memory of the process and the programs that JAX has compiled so far,
or loaded from its cache. What stands after ``--`` are flags of ``experiments/mvtec.py``, or of
``wtflow fit``.
"""

import contextlib
import ctypes
import functools
import io
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np
import tyro
from PIL import Image
from rich.table import Table

import peers
from predict import resident

sys.path.append(str(Path(__file__).parents[1] / "experiments"))

SIDE = 128
SETTLED = 4
"""Categories after which all that is shared is there."""
FLAGS = {
    "experiment": ("--image-size", "128", "--width", "16", "--epochs", "3", "--validation", "0.1"),
    "wtflow": ("--image-size", "128"),
}


@dataclass(frozen=True)
class Settings:
    """What is run."""

    mode: Literal["experiment", "wtflow"] = "experiment"
    """experiments/mvtec.py, or the commands of wtflow."""
    categories: int = 24
    """How many."""
    forget: bool = True
    """wtflow: forget after each category what was compiled, as the experiment does by itself."""
    json: Path | None = None
    """Where to write the figures."""


class Point(NamedTuple):
    """What is noted after a category."""

    category: str
    images: int
    mebibytes: float
    programs: int


def generate(root: Path, count: int) -> dict[str, int]:
    """Write categories of random textures; the number of images of each."""
    written = {}
    for number in range(count):
        rng = np.random.default_rng(number)
        name = f"texture{number:02d}"
        coarse = rng.normal(size=(int(rng.integers(4, 32)), int(rng.integers(4, 32)), 3))
        train, good, bad = (int(n) for n in rng.integers((20, 4, 4), (60, 16, 16)))
        for split, kind, images in (
            ("train", "good", train),
            ("test", "good", good),
            ("test", "patch", bad),
        ):
            for i in range(images):
                pixels, mask = _picture(rng, coarse, kind == "patch")
                _write(root / name / split / kind / f"{i:03d}.png", pixels)
                if kind == "patch":
                    _write(root / name / "ground_truth" / kind / f"{i:03d}_mask.png", mask)
        written[name] = train + good + bad
    return written


def _picture(
    rng: np.random.Generator, coarse: np.ndarray, defective: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return one view of a texture, shifted and with some grain, and the mask of its defect."""
    shifted = np.roll(coarse, tuple(rng.integers(0, 4, 2)), axis=(0, 1))
    index = (np.arange(SIDE) * side // SIDE for side in shifted.shape[:2])
    pixels = 128 + 40 * shifted[np.ix_(*index)] + rng.normal(0, 6, (SIDE, SIDE, 3))
    mask = np.zeros((SIDE, SIDE), bool)
    if defective:
        top, left = rng.integers(0, SIDE - 40, 2)
        mask[top : top + 40, left : left + 30] = True
        pixels[mask] = rng.integers(0, 256, 3)
    return np.clip(pixels, 0, 255).astype(np.uint8), mask


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def memory() -> float:
    """Return the MiB of this process, without what is free and kept by the allocator."""
    ctypes.CDLL(None).malloc_trim(0)
    return resident()


class Programs:
    """Counts what JAX compiles."""

    def __init__(self) -> None:
        """Count from now on."""
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._heard)

    def _heard(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        self.count += event == "/jax/core/compile/backend_compile_duration"


def experiment(place: Path, images: dict[str, int], flags: list[str]) -> list[Point]:
    """Run the experiment on all categories."""
    import mvtec
    from wtflow_jax.lab import common

    programs, points = Programs(), []

    @functools.wraps(mvtec.EXPERIMENT.measure)
    def measure(job):
        row = mvtec.EXPERIMENT.measure(job)
        name = job.category.name
        points.append(Point(name, images[name], memory(), programs.count))
        return row

    places = {name: str(place / name) for name in ("out", "models", "cache")}
    arguments = ["--root", str(place / "data"), *flags]
    for name, path in places.items():
        arguments += [f"--{name}", path]
    status = common.main(mvtec.EXPERIMENT._replace(measure=measure), arguments)
    assert status == 0
    return points


def wtflow(
    place: Path, images: dict[str, int], flags: list[str], forget: bool = True
) -> list[Point]:
    """Fit, predict and evaluate each category."""
    from wtflow_jax.app import cli

    programs, points = Programs(), []
    for name, count in images.items():
        root, model = place / "data", place / f"{name}-model"
        of_data = "--data", "mvtec_ad", "--category", name
        for command in (
            ("fit", root / name / "train" / "good", "--out", model, *flags),
            ("predict", model, root / name / "test", "--out", place / f"{name}-found"),
            ("evaluate", model, root, "--out", place / f"{name}-measured", *of_data),
        ):
            assert cli.main([*map(str, command)]) == 0
        if forget:
            jax.clear_caches()
        points.append(Point(name, count, memory(), programs.count))
    return points


def main(settings: Settings, flags: list[str]) -> None:
    """Run, and print a table."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        images = generate(place / "data", settings.categories)
        with contextlib.redirect_stdout(io.StringIO()):
            flags = [*FLAGS[settings.mode], *flags]
            if settings.mode == "wtflow":
                points = wtflow(place, images, flags, settings.forget)
            else:
                points = experiment(place, images, flags)
    table = Table(title=f"{settings.mode}: {len(points)} categories in one process")
    for column in ("category", "images", "MiB", "programs"):
        table.add_column(column, justify="right")
    for point in points:
        cells = f"{point.images}", f"{point.mebibytes:.0f}", f"{point.programs}"
        table.add_row(point.category, *cells)
    if len(points) > SETTLED:
        first, last = points[SETTLED - 1], points[-1]
        more = len(points) - SETTLED
        grown, compiled = last.mebibytes - first.mebibytes, last.programs - first.programs
        table.caption = (
            f"from the {SETTLED}th to the last: {grown:+.0f} MiB, {grown / more:+.2f} a category; "
            f"{compiled / more:.1f} programs a category"
        )
    peers.show(table, [point._asdict() for point in points], settings.json)


if __name__ == "__main__":
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    main(tyro.cli(Settings, description=__doc__, args=sys.argv[1:at]), sys.argv[at + 1 :])
