"""How do time and memory grow with images, channels, width, steps, and categories in a row?

    python benchmarks/growth.py

Each quantity is doubled four times while the others stay fixed. Every point runs in its own
process; its peak memory includes imports. The exponent p is fitted to a + b·n^p with a constant
part a: p = 1 is linear, p = 2 quadratic.
"""

import contextlib
import json
import resource
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import tyro
from jaxtyping import Float
from PIL import Image
from rich.table import Table
from scipy.optimize import curve_fit

import peers


@dataclass(frozen=True)
class Point:
    """What to time: an epoch of training and the inference of 16 maps."""

    images: int = 32
    """Training maps of 16 × 16 cells."""
    channels: int = 256
    """Channels of a map."""
    width: int = 32
    """Width of the network."""
    steps: int = 1
    """Euler steps of inference."""
    categories: int = 0
    """Categories that experiments/mvtec.py runs in this process, with different image counts."""


Quantity = Literal["images", "channels", "width", "steps", "categories"]


@dataclass(frozen=True)
class Settings:
    """Where the growth starts."""

    start: Point = Point()
    """The first point; categories start at 1."""
    quantities: tuple[Quantity, ...] = get_args(Quantity)
    """Quantities to grow."""
    doublings: int = 4
    """Number of doublings."""
    repeats: int = 3
    """Timed calls per point, after one untimed call."""
    json: Path | None = None
    """File for the figures."""
    worker: bool = False
    """Internal: time the point --start."""


GROWS: dict[Quantity, tuple[str, ...]] = {
    "images": ("epoch", "memory"),
    "channels": ("epoch", "inference", "memory"),
    "width": ("epoch", "inference", "memory"),
    "steps": ("inference", "memory"),
    "categories": ("memory",),
}
"""Figures reported for each quantity."""


def measure(settings: Settings) -> peers.Figures:
    """Time one point."""
    import jax
    import jax.numpy as jnp

    from wtflow_jax.detector import detector, route
    from wtflow_jax.detector.config import configure

    point = settings.start
    config = configure(width=point.width, steps_det=point.steps, steps_loc=point.steps, epochs=1)
    shape = point.images, 16, 16, point.channels
    features = np.random.default_rng(0).standard_normal(shape, np.float32)
    maps = jnp.asarray(features)

    def epoch() -> None:
        _, state = detector.init(config, maps)
        assert state is not None
        # Do not time the initial weights.
        jax.block_until_ready(state)
        start = time.perf_counter()
        for _ in detector.training(fitted, state, maps):
            pass
        seconds.append(time.perf_counter() - start)

    fitted, _ = detector.init(config, maps)
    seconds: list[float] = []
    for _ in range(settings.repeats + 1):
        epoch()
    figures = {"epoch": float(np.median(seconds[1:]))}
    call = lambda: route.cells(fitted, features[:16])  # noqa: E731
    figures["inference"] = peers.median_seconds(call, settings.repeats, warm_up=1)
    if point.categories:
        with tempfile.TemporaryDirectory() as place:
            go_through(point.categories, Path(place))
    figures["memory"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return figures


def go_through(count: int, place: Path) -> None:
    """Run the experiment on categories of noise, in MVTec AD's layout."""
    from wtflow_jax.lab import experiment

    rng = np.random.default_rng(0)
    for number in range(count):
        train, good, bad = (int(n) for n in rng.integers((8, 4, 4), (40, 16, 16)))
        kinds = {"train/good": train, "test/good": good, "test/dark": bad, "ground_truth/dark": bad}
        for kind, images in kinds.items():
            directory = place / "data" / f"noise{number:03d}" / kind
            directory.mkdir(parents=True)
            for i in range(images):
                pixels = rng.integers(0, 60 if kind == "test/dark" else 256, (64, 64, 3), np.uint8)
                if kind.startswith("ground"):
                    Image.new("1", (64, 64), 1).save(directory / f"{i:03d}_mask.png")
                else:
                    Image.fromarray(pixels).save(directory / f"{i:03d}.png")
    flags = "--image-size", "64", "--width", "8", "--epochs", "2", "--steps-det", "1"
    names = {"root": "data", "out": "out", "models": "models", "cache": "cache"}
    where = [part for flag, name in names.items() for part in (f"--{flag}", str(place / name))]
    own = experiment.load(Path(__file__).parents[1] / "experiments", "mvtec")
    with contextlib.redirect_stdout(sys.stderr):
        assert experiment.main(own, [*where, *flags]) == 0


def fitted(n: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"]) -> float:
    """Return p of the least-squares fit y = a + b·n^p; 0 if y varies by less than a tenth."""
    if np.ptp(y) < 0.1 * y[0]:
        return 0.0
    curve = lambda n, a, b, p: a + b * n**p  # noqa: E731
    guess, bounds = (y[0] / 2, y[0] / 2, 1), (0, (np.inf, np.inf, 4))
    found, _ = curve_fit(curve, n / n[0], y, guess, sigma=y, bounds=bounds)
    return float(found[2])


def main(settings: Settings) -> None:
    if settings.worker:
        print(json.dumps(measure(settings)))
        return
    table = Table(title=f"doubled {settings.doublings} times")
    for column in ("", "from", "to", "what", "first", "last", "exponent"):
        table.add_column(column, justify="right")
    data: dict[str, Any] = {}
    for name in settings.quantities:
        first = getattr(settings.start, name) or 1
        values = [first * 2**i for i in range(settings.doublings + 1)]
        points = [replace(settings.start, **{name: value}) for value in values]
        found = [peers.run(_command(settings, point)) for point in points]
        data[name] = {"values": values}
        for what in GROWS[name]:
            y = np.array([figures[what] for figures in found])
            exponent = fitted(np.array(values, float), y)
            data[name][what] = {"figures": y.tolist(), "exponent": exponent}
            scale, unit = (1e-9, "GB") if what == "memory" else (1, "s")
            ends = (f"{scale * value:.3g} {unit}" for value in (y[0], y[-1]))
            table.add_row(name, str(first), str(values[-1]), what, *ends, f"{exponent:.2f}")
    peers.show(table, data, settings.json)


def _command(settings: Settings, point: Point) -> list[str]:
    flags = [f"--start.{name}={value}" for name, value in vars(point).items()]
    return [sys.executable, __file__, *flags, f"--repeats={settings.repeats}", "--worker"]


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
