"""Does the exact field cost less than a brute-force one in torch, and is it right?

    python benchmarks/exact_field.py                       # 12,000 patches of 256 channels
    python benchmarks/exact_field.py --patches 50000

One call answers the 256 positions of a map. The peer is the direct formula in torch, float32: all
distances by one matrix product, softmax, one more product. Each round times both, one process after
the other. Errors are ‖u − ū‖/max(‖ū‖, ‖x‖), the largest of 32 positions on the path, ū in float64
by direct differences in numpy; the memory is the peak of our process above what it had imported.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

import peers


@dataclass(frozen=True)
class Settings:
    """What is timed."""

    patches: int = 12_000
    """Data of the field."""
    channels: int = 256
    """Their dimension."""
    positions: int = 256
    """Positions a call."""
    times: tuple[float, ...] = (0.001, 0.01, 0.05, 0.3, 1.0)
    """Times t."""
    rounds: int = 3
    """Rounds of both peers."""
    repeats: int = 10
    """Timed calls a round, after two that are not."""
    json: Path | None = None
    """Where to write the figures."""
    worker: Literal["jax", "torch"] | None = None
    """Used by the benchmark itself: be one of the peers."""


def inputs(settings: Settings, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Return data near a subspace of 20 dimensions, off the origin, and positions on their path."""
    rng = np.random.default_rng(0)
    n, c, q = settings.patches, settings.channels, settings.positions
    data = rng.normal(size=(n, 20)) @ rng.normal(size=(20, c)) / np.sqrt(20)
    data = (data + 0.2 * rng.normal(size=(n, c)) + 1).astype(np.float32)
    x = (1 - t) * data[rng.integers(n, size=q)] + t * rng.normal(size=(q, c))
    return data, x.astype(np.float32)


def jax_field() -> Callable[[np.ndarray, float, np.ndarray], Callable[[], np.ndarray]]:
    """Return this library's field as a function of the inputs that returns the call to time."""
    import jax
    import jax.numpy as jnp

    from wtflow_jax.geometry.empirical import empirical_velocity

    batched = jax.jit(jax.vmap(empirical_velocity, (None, None, 0)))

    def prepare(data: np.ndarray, t: float, x: np.ndarray) -> Callable[[], np.ndarray]:
        arguments = jnp.asarray(data), jnp.float32(t), jnp.asarray(x)
        return lambda: np.asarray(batched(*arguments))

    return prepare


def torch_field() -> Callable[[np.ndarray, float, np.ndarray], Callable[[], np.ndarray]]:
    """Return the peer in the same form."""
    import torch

    def prepare(data: np.ndarray, t: float, x: np.ndarray) -> Callable[[], np.ndarray]:
        rows, points = torch.from_numpy(data), torch.from_numpy(x)

        def call() -> np.ndarray:
            with torch.no_grad():
                squares = points.square().sum(1, keepdim=True) - 2 * (1 - t) * points @ rows.T
                squares += (1 - t) ** 2 * rows.square().sum(1)
                mean = torch.softmax(-squares / (2 * t * t), dim=1) @ rows
                return ((points - mean) / t).numpy()

        return call

    return prepare


def direct(data: np.ndarray, t: float, x: np.ndarray) -> np.ndarray:
    """Return the field at some positions in float64."""
    rows, t = data.astype(np.float64), float(np.float32(t))
    out = []
    for point in x.astype(np.float64):
        log_weights = -np.sum((point - (1 - t) * rows) ** 2, axis=1) / (2 * t * t)
        weights = np.exp(log_weights - log_weights.max())
        out.append((point - weights @ rows / weights.sum()) / t)
    return np.stack(out)


def work(settings: Settings) -> None:
    """Be one of the peers: print a line of JSON."""
    prepare = jax_field() if settings.worker == "jax" else torch_field()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, errors, peaks = [], [], []
    for t in settings.times:
        data, x = inputs(settings, t)
        call = prepare(data, t, x)
        seconds.append(peers.median_seconds(call, settings.repeats))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        expected, found = direct(data, t, x[:32]), call()[:32]
        scale = np.maximum(np.linalg.norm(expected, axis=1), np.linalg.norm(x[:32], axis=1))
        errors.append(float(np.max(np.linalg.norm(found - expected, axis=1) / scale)))
    # The first: later ones have seen the reference in float64.
    gigabytes = (peaks[0] - before) / 2**20
    print(json.dumps({"seconds": seconds, "errors": errors, "gigabytes": gigabytes}))


def main(settings: Settings) -> None:
    if settings.worker:
        work(settings)
        return
    rounds = []
    for _ in range(settings.rounds):
        results = {}
        for worker in ("jax", "torch"):
            command = [sys.executable, __file__, *sys.argv[1:], "--worker", worker]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results[worker] = json.loads(done.stdout.splitlines()[-1])
        rounds.append(results)
    title = f"{settings.positions} positions against {settings.patches} × {settings.channels}"
    table = Table(title=title)
    for heading in ("t", "ours, ms", "torch, ms", "ratio", "rounds", "our error", "torch's"):
        table.add_column(heading, justify="right")
    for i, t in enumerate(settings.times):
        ours, theirs = (
            np.array([r[w]["seconds"][i] for r in rounds]) * 1e3 for w in ("jax", "torch")
        )
        ratios = ours / theirs
        errors = [rounds[0][w]["errors"][i] for w in ("jax", "torch")]
        table.add_row(
            f"{t:g}",
            f"{np.median(ours):.1f}",
            f"{np.median(theirs):.1f}",
            f"{np.median(ratios):.2f}",
            " ".join(f"{ratio:.2f}" for ratio in ratios),
            *(f"{error:.1e}" for error in errors),
        )
    table.caption = f"peak memory of ours: {rounds[0]['jax']['gigabytes']:.2f} GB"
    Console().print(table)
    if settings.json:
        settings.json.write_text(
            json.dumps({"settings": asdict(settings), "rounds": rounds}, indent=2, default=str)
        )


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
