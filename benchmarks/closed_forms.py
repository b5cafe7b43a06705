"""What do closed forms cost to score a test set, beside the exact field of patches?

    python benchmarks/closed_forms.py              # number of maps: bottle of MVTec AD

Each field is fitted to the same training maps under ``whiten`` and scores the same test maps, from
features to cells. Fields are timed in turn over several rounds; ratios are to the exact field's
median. Maps are random: near a subspace of 20 dimensions, off the origin.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tyro
from rich.table import Table

import peers
from wtflow_jax.detector import detector, route
from wtflow_jax.detector.config import configure

EXACT = "exact, 12,000 patches"
CONFIGS: dict[str, dict[str, Any]] = {
    EXACT: {"velocity": "exact"},
    "a Gaussian a position": {"velocity": "gaussian"},
    "the same, 20 Euler steps": {
        "velocity": "gaussian",
        **{"start": 0.0, "residual": False, "steps_det": 20, "steps_loc": 20},
    },
    "mixture of 16": {"velocity": "mixture"},
    "mixture of 64": {"velocity": "mixture", "components": 64},
}


@dataclass(frozen=True)
class Settings:
    """What to time."""

    train: int = 209
    """Training maps."""
    test: int = 83
    """Test maps."""
    side: int = 16
    """Cells of a map to each side."""
    channels: int = 256
    """Channels per cell."""
    rounds: int = 5
    """Rounds of all, after one that is not timed."""
    json: Path | None = None
    """File for the figures."""


def maps(settings: Settings, count: int, seed: int) -> np.ndarray:
    """Return features (count, side, side, channels)."""
    shared, own = np.random.default_rng(0), np.random.default_rng(seed)
    mix = shared.normal(size=(20, settings.channels)) / np.sqrt(20)
    shape = count, settings.side, settings.side
    x = own.normal(size=(*shape, 20)) @ mix + 0.2 * own.normal(size=(*shape, settings.channels))
    return (x + 1).astype(np.float32)


def main(settings: Settings) -> None:
    """Fit all, score in turn, and print a table."""
    train, test = maps(settings, settings.train, 1), maps(settings, settings.test, 2)
    fitted = {
        name: detector.fit(configure(wt="whiten", **own), jnp.asarray(train))
        for name, own in CONFIGS.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in CONFIGS}
    for turn in range(settings.rounds + 1):
        for name, one in fitted.items():
            began = time.perf_counter()
            route.cells(one, test)
            # The first round compiles.
            seconds[name] += [time.perf_counter() - began] if turn else []
    table = Table(title=f"{settings.test} maps of {settings.side}² × {settings.channels}")
    for heading in ("field", "seconds, median", "least", "of the exact field's"):
        table.add_column(heading, justify="left" if heading == "field" else "right")
    whole = float(np.median(seconds[EXACT]))
    for name, own in seconds.items():
        median = float(np.median(own))
        table.add_row(name, f"{median:.3f}", f"{min(own):.3f}", f"{median / whole:.3f}")
    peers.show(table, seconds, settings.json)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
