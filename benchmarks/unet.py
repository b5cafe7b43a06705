"""Is the U-Net faster than in torch, in training and inference, on the same cores?

    python benchmarks/unet.py                              # width 64, 256 channels
    python benchmarks/unet.py --width 128 --channels 1024

Compares with eager torch and ``torch.compile``, one process at a time. All take a whole AdamW step
on a batch of 16 × 16 maps with new random times and noise, and wait for the loss; the forward pass
is one velocity. The floor is the time of one large matrix product with the same number of
floating-point operations.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

import peers


@dataclass(frozen=True)
class Settings:
    """What to time."""

    width: int = 64
    """Base width of the network."""
    channels: int = 256
    """Channels of a map."""
    batch: int = 8
    """Maps per training step."""
    rounds: int = 3
    """Rounds of all."""
    repeats: int = 12
    """Timed calls per round, after two untimed calls."""
    json: Path | None = None
    """File for the figures."""
    worker: Literal["ours", "eager", "compile"] | None = None
    """Internal: run as one of the peers."""


def ours(settings: Settings) -> peers.Figures:
    """Time this library."""
    import jax
    import jax.numpy as jnp

    from wtflow_jax.support.compilation import XLA_OPTIONS
    from wtflow_jax.training import state as training
    from wtflow_jax.velocities.unet import UNet

    x0 = jax.random.normal(jax.random.key(1), (settings.batch, 16, 16, settings.channels))
    network, rest = UNet(settings.width), (x0, jnp.arange(settings.batch), jax.random.key(2))
    velocity_fn = network.velocity_fn()
    objective = training.Objective(velocity_fn, rate=2e-4)
    state = training.init_state(objective, network.init(jax.random.key(0), x0))

    def step() -> None:
        nonlocal state
        state, loss = training.step(objective, state, *rest)
        float(loss)

    arguments = state.params, jnp.float32(0), x0[0]
    forward = jax.jit(velocity_fn, compiler_options=XLA_OPTIONS)
    lowered = {
        "step": training.step.lower(objective, state, *rest),
        "forward": forward.lower(*arguments),
    }
    a, b = jnp.ones((2048, 2304)), jnp.ones((2304, 256))
    product = peers.median_seconds(lambda: (a @ b).block_until_ready(), 5 * settings.repeats)
    rate_of_product = 2 * 2048 * 2304 * 256 / product
    floors = {
        f"{name}_floor": _flops(part.compile()) / rate_of_product for name, part in lowered.items()
    }
    seconds = {"step": peers.median_seconds(step, settings.repeats)}
    call = lambda: forward(state.params, *arguments[1:]).block_until_ready()  # noqa: E731
    return seconds | {"forward": peers.median_seconds(call, 5 * settings.repeats)} | floors


def _flops(compiled: Any) -> float:
    return compiled.cost_analysis()["flops"]


def torch_worker(settings: Settings) -> peers.Figures:
    """Time torch."""
    import torch

    from torch_unet import UNet

    network = UNet(settings.channels, settings.width)
    if settings.worker == "compile":
        network.compile()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-4, weight_decay=0.1, fused=True)
    x0 = torch.randn(settings.batch, settings.channels, 16, 16)

    def step() -> None:
        t, x1 = torch.rand(settings.batch), torch.randn_like(x0)
        s = t[:, None, None, None]
        loss = ((x1 - x0 - network(t, (1 - s) * x0 + s * x1)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    seconds = {"step": peers.median_seconds(step, settings.repeats)}
    with torch.no_grad():
        call = lambda: network(torch.zeros(1), x0[:1])  # noqa: E731
        return seconds | {"forward": peers.median_seconds(call, 5 * settings.repeats)}


def main(settings: Settings) -> None:
    """Run the rounds and print the table."""
    names = {"ours": "ours", "torch eager": "eager", "torch.compile": "compile"}
    commands = {
        name: [sys.executable, __file__, *sys.argv[1:], "--worker", worker]
        for name, worker in names.items()
    }
    found = peers.in_turn(commands, settings.rounds)
    labels = {"step": f"training step, batch {settings.batch}", "forward": "forward, batch 1"}
    title = f"U-Net, width {settings.width}, {settings.channels} channels, 16 × 16: ms"
    table, data = peers.ratios(found, "ours", labels, title)
    for key in labels:
        data[key]["floor"] = float(np.median([r[f"{key}_floor"] for r in found["ours"]]))
    floors = ", ".join(f"{key} {1e3 * data[key]['floor']:.1f} ms" for key in labels)
    table.caption = f"{table.caption}; the same FLOPs in one matrix product: {floors}"
    peers.show(table, data, settings.json)


if __name__ == "__main__":
    asked = tyro.cli(Settings, description=__doc__)
    if asked.worker is None:
        main(asked)
    else:
        print(json.dumps((ours if asked.worker == "ours" else torch_worker)(asked)))
