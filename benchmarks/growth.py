"""How do time and memory grow with the images, the channels, the width and the steps?

    python benchmarks/growth.py

Each quantity is doubled four times, the others stay; every point is a process of its own, and its
peak of memory counts what is imported too. The exponent p is fitted as a + b·n^p, where
a is what does not grow: 1 is proportional, 2 is quadratic.
"""

import json
import resource
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from jaxtyping import Float
from rich.table import Table
from scipy.optimize import curve_fit

import peers


@dataclass(frozen=True)
class Point:
    """What is timed: an epoch of training and the inference of 16 maps."""

    images: int = 32
    """Maps of 16 × 16 cells that are trained on."""
    channels: int = 256
    """Of a map."""
    width: int = 32
    """Of the network."""
    steps: int = 1
    """Euler steps of inference."""


@dataclass(frozen=True)
class Settings:
    """Where the growth starts."""

    start: Point = Point()
    """The first point of all four."""
    doublings: int = 4
    """How often each is doubled."""
    repeats: int = 3
    """Timed calls a point, after one that is not."""
    json: Path | None = None
    """Where to write the figures."""
    worker: bool = False
    """Used by the benchmark itself: time the point --start."""


GROWS = {
    "images": ("epoch", "memory"),
    "channels": ("epoch", "inference", "memory"),
    "width": ("epoch", "inference", "memory"),
    "steps": ("inference", "memory"),
}
"""What is told of each quantity."""


def measure(settings: Settings) -> peers.Figures:
    """Time one point."""
    import jax
    import jax.numpy as jnp

    from wtflow_jax.detector import detector, inference
    from wtflow_jax.detector.config import Config

    point = settings.start
    config = Config(width=point.width, steps_det=point.steps, steps_loc=point.steps, epochs=1)
    shape = point.images, 16, 16, point.channels
    features = np.random.default_rng(0).standard_normal(shape, np.float32)
    maps = jnp.asarray(features)

    def epoch() -> None:
        _, state = detector.init(config, maps)
        assert state is not None
        # Drawing the first weights does not count.
        jax.block_until_ready(state)
        start = time.perf_counter()
        *_, (_, _) = detector.epochs(config, fitted, state, maps)
        seconds.append(time.perf_counter() - start)

    fitted, _ = detector.init(config, maps)
    seconds: list[float] = []
    for _ in range(settings.repeats + 1):
        epoch()
    figures = {"epoch": float(np.median(seconds[1:]))}
    call = lambda: inference.predict_cells(fitted, features[:16], config)  # noqa: E731
    figures["inference"] = peers.median_seconds(call, settings.repeats, warm_up=1)
    figures["memory"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return figures


def fitted(n: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"]) -> float:
    """Return p of y = a + b·n^p, the closest relative to y; 0 where y stays within a tenth."""
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
    table = Table(title="doubled four times: from, to, exponent")
    for column in ("", "from", "to", "what", "first", "last", "exponent"):
        table.add_column(column, justify="right")
    data: dict[str, Any] = {}
    for name, told in GROWS.items():
        first = getattr(settings.start, name)
        values = [first * 2**i for i in range(settings.doublings + 1)]
        points = [replace(settings.start, **{name: value}) for value in values]
        found = [peers.run(_command(settings, point)) for point in points]
        data[name] = {"values": values}
        for what in told:
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
