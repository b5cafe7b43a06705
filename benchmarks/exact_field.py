"""Does the exact field cost less than its peers, and is it right?

    python benchmarks/exact_field.py                       # 12,000 patches of 256 channels
    python benchmarks/exact_field.py --patches 50000

One call computes the 256 positions of a map. The peers, in float32: the direct formula in torch
(all distances by one matrix product, softmax, one more product), and the same weights on only the
100 nearest rows, which scikit-learn and faiss (if faiss-cpu is installed) search exhaustively.
Search indices and squared norms of rows are computed before timing. The error is the largest
‖u − ū‖/max(‖ū‖, ‖x‖) of 32 positions on the path; ū is float64 by direct differences in numpy.
Memory is the peak of our process, without imports and inputs.
"""

import importlib.util
import json
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.table import Table

import peers

NEAREST = 100
"""Rows that a neighbour search returns."""


@dataclass(frozen=True)
class Settings:
    """What to time."""

    patches: int = 12_000
    """Number of patches of the field."""
    channels: int = 256
    """Dimension of a patch."""
    positions: int = 256
    """Positions per call."""
    times: tuple[float, ...] = (0.001, 0.01, 0.05, 0.3, 1.0)
    """Times t."""
    rounds: int = 3
    """Rounds of all."""
    repeats: int = 10
    """Timed calls per round, after two untimed calls."""
    json: Path | None = None
    """File for the figures."""
    worker: str | None = None
    """Internal: run as one of the peers."""


def inputs(settings: Settings, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Return data near a subspace of 20 dimensions, off the origin, and positions x_t."""
    rng = np.random.default_rng(0)
    n, c, q = settings.patches, settings.channels, settings.positions
    data = rng.normal(size=(n, 20)) @ rng.normal(size=(20, c)) / np.sqrt(20)
    data = (data + 0.2 * rng.normal(size=(n, c)) + 1).astype(np.float32)
    x = (1 - t) * data[rng.integers(n, size=q)] + t * rng.normal(size=(q, c))
    return data, x.astype(np.float32)


Call = Callable[[], np.ndarray]


def ours(data: np.ndarray, t: float, x: np.ndarray) -> Call:
    """Return this library's field as a call to time."""
    import jax
    import jax.numpy as jnp

    from wtflow_jax.geometry.empirical import empirical_velocity

    batched = jax.jit(jax.vmap(empirical_velocity, (None, None, 0)))
    arguments = jnp.asarray(data), jnp.float32(t), jnp.asarray(x)
    return lambda: np.asarray(batched(*arguments))


def in_torch(data: np.ndarray, t: float, x: np.ndarray) -> Call:
    """Return the direct formula in torch as a call to time."""
    import torch

    rows, points = torch.from_numpy(data), torch.from_numpy(x)
    lengths = (1 - t) ** 2 * rows.square().sum(1)

    def call() -> np.ndarray:
        with torch.no_grad():
            squares = points.square().sum(1, keepdim=True) - 2 * (1 - t) * points @ rows.T
            squares += lengths
            mean = torch.softmax(-squares / (2 * t * t), dim=1) @ rows
            return ((points - mean) / t).numpy()

    return call


def _of_nearest(search: Callable, data: np.ndarray, t: float, x: np.ndarray) -> Call:
    """Return the field of the nearest rows; ``search`` returns squared distances and indices."""

    def call() -> np.ndarray:
        squares, index = search(x)
        weights = np.exp((squares.min(1, keepdims=True) - squares) / (2 * t * t))
        mean = np.einsum("qk,qkc->qc", weights, data[index]) / weights.sum(1, keepdims=True)
        return (x - mean) / t

    return call


def in_scikit_learn(data: np.ndarray, t: float, x: np.ndarray) -> Call:
    """Return the field of the nearest rows, searched by scikit-learn."""
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=NEAREST, algorithm="brute", metric="sqeuclidean")
    return _of_nearest(index.fit(np.float32(1 - t) * data).kneighbors, data, t, x)


def in_faiss(data: np.ndarray, t: float, x: np.ndarray) -> Call:
    """Return the field of the nearest rows, searched by faiss."""
    import faiss  # pyright: ignore[reportMissingImports]

    index = faiss.IndexFlatL2(data.shape[1])
    index.add(np.float32(1 - t) * data)
    return _of_nearest(lambda x: index.search(x, NEAREST), data, t, x)


FIELDS = {"ours": ours, "torch": in_torch, "scikit-learn": in_scikit_learn, "faiss": in_faiss}


def direct(data: np.ndarray, t: float, x: np.ndarray) -> np.ndarray:
    """Return the field at some positions in float64."""
    rows, t = data.astype(np.float64), float(np.float32(t))
    out = []
    for point in x.astype(np.float64):
        log_weights = -np.sum((point - (1 - t) * rows) ** 2, axis=1) / (2 * t * t)
        weights = np.exp(log_weights - log_weights.max())
        out.append((point - weights @ rows / weights.sum()) / t)
    return np.stack(out)


def work(settings: Settings) -> peers.Figures:
    """Run as one of the peers: return its times, errors and memory."""
    found: peers.Figures = {}
    for t in settings.times:
        data, x = inputs(settings, t)
        call = FIELDS[settings.worker or "ours"](data, t, x)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found[f"t = {t:g}"] = peers.median_seconds(call, settings.repeats)
        # Only the first peak: later peaks include the reference in float64.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found.setdefault("gigabytes", (peak - before) / 2**20)
        expected, answer = direct(data, t, x[:32]), call()[:32]
        scale = np.maximum(np.linalg.norm(expected, axis=1), np.linalg.norm(x[:32], axis=1))
        error = np.max(np.linalg.norm(answer - expected, axis=1) / scale)
        found[f"error at t = {t:g}"] = float(error)
    return found


def errors(found: dict[str, list[peers.Figures]], settings: Settings) -> tuple[Table, Any]:
    """Return the errors of all peers, which are the same in each round."""
    table = Table(title="largest error, relative to ‖ū‖ or ‖x‖")
    for heading in ("t", *found):
        table.add_column(heading, justify="right")
    for t in settings.times:
        row = [figures[0][f"error at t = {t:g}"] for figures in found.values()]
        table.add_row(f"{t:g}", *(f"{error:.1e}" for error in row))
    names = [f"error at t = {t:g}" for t in settings.times]
    data = {peer: {name: figures[0][name] for name in names} for peer, figures in found.items()}
    return table, data


def main(settings: Settings) -> None:
    """Run the rounds and print the tables."""
    names = [name for name in FIELDS if name != "faiss" or importlib.util.find_spec("faiss")]
    if "faiss" not in names:
        print("faiss-cpu is not installed: left out")
    commands = {name: [sys.executable, __file__, *sys.argv[1:], "--worker", name] for name in names}
    found = peers.in_turn(commands, settings.rounds)
    title = f"{settings.positions} positions against {settings.patches} × {settings.channels}: ms"
    labels = {f"t = {t:g}": f"t = {t:g}" for t in settings.times}
    table, data = peers.ratios(found, "ours", labels, title)
    table.caption = f"{table.caption}; peak of ours {found['ours'][0]['gigabytes']:.2f} GB"
    peers.show(table, data, settings.json)
    peers.show(*errors(found, settings), None)


if __name__ == "__main__":
    asked = tyro.cli(Settings, description=__doc__)
    if asked.worker is None:
        main(asked)
    else:
        print(json.dumps(work(asked)))
