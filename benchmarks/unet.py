"""Does training and running the U-Net cost less than in torch eager, on the same cores?

    python benchmarks/unet.py                              # width 64, 256 channels
    python benchmarks/unet.py --width 128 --channels 1024

Each round times both, one process after the other so that neither's threads disturb the other's;
what is printed are medians over the rounds and their ratio. Both take a whole AdamW step on a batch
of 16 × 16 maps, times and noise drawn anew, and wait for the loss; the forward is one velocity. The
floor is the time of as many floating-point operations in one large matrix product.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Settings:
    """What is timed."""

    width: int = 64
    """Base width of the network."""
    channels: int = 256
    """Channels of a map."""
    batch: int = 8
    """Maps a training step."""
    rounds: int = 3
    """Rounds of both peers."""
    repeats: int = 12
    """Timed calls a round, after two that are not."""
    json: Path | None = None
    """Where to write the figures."""
    worker: Literal["jax", "torch"] | None = None
    """Used by the benchmark itself: be one of the peers."""


def measure(call: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of a call that waits for its result."""
    seconds = []
    for i in range(repeats + 2):
        start = time.perf_counter()
        call()
        if i >= 2:
            seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def jax_worker(settings: Settings) -> dict[str, float]:
    """Time this library."""
    import jax
    import jax.numpy as jnp

    from wtflow_jax import train, unet
    from wtflow_jax.compilation import XLA_OPTIONS

    shape = (16, 16, settings.channels)
    velocity_fn = unet.velocity(settings.width)
    objective = train.Objective(velocity_fn)
    params = unet.init(jax.random.key(0), shape, settings.width)
    state = train.init_state(objective, params)
    x0 = jax.random.normal(jax.random.key(1), (settings.batch, *shape))
    index, rate = jnp.arange(settings.batch), jnp.float32(2e-4)

    def step() -> None:
        nonlocal state
        state, loss = train.step(objective, state, x0, index, jax.random.key(2), rate)
        float(loss)

    arguments = state.params, jnp.float32(0), x0[0]
    forward = jax.jit(velocity_fn, compiler_options=XLA_OPTIONS)
    lowered = {
        "step": train.step.lower(objective, state, x0, index, jax.random.key(2), rate),
        "forward": forward.lower(*arguments),
    }
    a, b = jnp.ones((2048, 2304)), jnp.ones((2304, 256))
    product = measure(lambda: (a @ b).block_until_ready(), 5 * settings.repeats)
    rate_of_product = 2 * 2048 * 2304 * 256 / product
    floors = {
        f"{name}_floor": _flops(part.compile()) / rate_of_product for name, part in lowered.items()
    }
    seconds = {"step": measure(step, settings.repeats)}
    call = lambda: forward(state.params, *arguments[1:]).block_until_ready()  # noqa: E731
    return seconds | {"forward": measure(call, 5 * settings.repeats)} | floors


def _flops(compiled: Any) -> float:
    return compiled.cost_analysis()["flops"]


def torch_worker(settings: Settings) -> dict[str, float]:
    """Time torch eager."""
    import torch

    from torch_unet import UNet

    network = UNet(settings.channels, settings.width)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-4, weight_decay=0.1)
    x0 = torch.randn(settings.batch, settings.channels, 16, 16)

    def step() -> None:
        t, x1 = torch.rand(settings.batch), torch.randn_like(x0)
        s = t[:, None, None, None]
        loss = ((x1 - x0 - network(t, (1 - s) * x0 + s * x1)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    seconds = {"step": measure(step, settings.repeats)}
    with torch.no_grad():
        call = lambda: network(torch.zeros(1), x0[:1])  # noqa: E731
        return seconds | {"forward": measure(call, 5 * settings.repeats)}


def main(settings: Settings) -> None:
    """Run the rounds and print the table."""
    peers = ("jax", "torch")
    rounds: dict[str, list[dict[str, float]]] = {peer: [] for peer in peers}
    for _ in range(settings.rounds):
        for peer in peers:
            command = [sys.executable, __file__, *sys.argv[1:], "--worker", peer]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rounds[peer].append(json.loads(done.stdout.splitlines()[-1]))
    table = Table(
        title=f"U-Net, width {settings.width}, {settings.channels} channels, 16 × 16: ms",
        caption=f"medians of {settings.rounds} rounds of {settings.repeats}; floor: the same FLOPs "
        "in one matrix product",
    )
    for column in ("", "ours", "torch eager", "ratio", "ratio of each round", "floor"):
        table.add_column(column, justify="right")
    figures = {}
    labels = {"step": f"training step, batch {settings.batch}", "forward": "forward, batch 1"}
    for key, label in labels.items():
        ours, theirs = (np.array([r[key] for r in rounds[peer]]) for peer in peers)
        a, b = float(np.median(ours)), float(np.median(theirs))
        floor = float(np.median([r[f"{key}_floor"] for r in rounds["jax"]]))
        figures[key] = {
            "ours": a,
            "torch": b,
            "ratio": a / b,
            "ratios": list(ours / theirs),
            "floor": floor,
        }
        each = " ".join(f"{ratio:.2f}" for ratio in ours / theirs)
        cells = f"{1e3 * a:.1f}", f"{1e3 * b:.1f}", f"{a / b:.2f}", each, f"{1e3 * floor:.1f}"
        table.add_row(label, *cells)
    Console().print(table)
    if settings.json is not None:
        settings.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    asked = tyro.cli(Settings, description=__doc__)
    if asked.worker is None:
        main(asked)
    else:
        worker = jax_worker if asked.worker == "jax" else torch_worker
        print(json.dumps(worker(asked)))
