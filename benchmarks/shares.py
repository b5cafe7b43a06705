"""How much time do group norm, activation, time embedding, noise and AdamW take?

    python benchmarks/shares.py
    python benchmarks/shares.py --width 128 --channels 1024

A part's share is the time that a training step or forward pass saves without it: with the identity
in place of group norm or SiLU, zeros in place of the time embedding or x1, plain gradient descent
in place of AdamW. XLA's own profile does not show this: convolutions run in another thread pool,
and it records only their call. All variants run in turn, in one process.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from rich.table import Table

import peers
from wtflow_jax.flow import targets
from wtflow_jax.support.compilation import XLA_OPTIONS
from wtflow_jax.training import state as training
from wtflow_jax.velocities import network, unet

WITHOUT: dict[str, tuple[Any, str, Any]] = {
    "group norm": (unet, "_norm", lambda width, dtype: lambda x: x),
    "SiLU": (unet.nn, "silu", lambda x: x),
    "time embedding": (network.nn, "Dense", lambda n, dtype: lambda x: jnp.zeros(n)),
    "noise": (targets, "gaussian", lambda key, shape: jnp.zeros(shape)),
    "AdamW": (training.Objective, "optimizer", optax.sgd(1.0)),
}
"""Module, attribute and replacement of each part."""


@dataclass(frozen=True)
class Settings:
    """What to time."""

    width: int = 64
    """Base width of the network."""
    channels: int = 256
    """Channels of a map of 16 × 16 cells."""
    batch: int = 8
    """Maps per training step."""
    rounds: int = 5
    """Rounds of all variants."""
    repeats: int = 10
    """Timed calls per round, after two untimed calls."""
    json: Path | None = None
    """File for the figures."""


@contextmanager
def without(*parts: str) -> Iterator[None]:
    """Replace some parts in everything traced within this context."""
    with ExitStack() as stack:
        for part in parts:
            stack.enter_context(patch.object(*WITHOUT[part]))
        yield


def calls(settings: Settings, *parts: str) -> dict[str, Callable[[], object]]:
    """Return a compiled training step and a forward pass, each as a call that waits."""
    network._velocity_fn.cache_clear()
    x0 = jax.random.normal(jax.random.key(1), (settings.batch, 16, 16, settings.channels))
    rest: tuple[Any, ...] = x0, jnp.arange(settings.batch), jax.random.key(2)
    with without(*parts):
        own = unet.UNet(settings.width)
        velocity_fn, params = own.velocity_fn(), own.init(jax.random.key(0), x0)
        objective = training.Objective(velocity_fn, targets.gaussian, rate=1e-6)
        state = training.init_state(objective, params)
        step = training.step.lower(objective, state, *rest).compile()
        arguments = jax.tree.map(jnp.copy, params), jnp.float32(0), x0[0]
        forward = jax.jit(velocity_fn, compiler_options=XLA_OPTIONS).lower(*arguments).compile()

    def one_step() -> None:
        nonlocal state
        state, loss = step(state, *rest)
        float(loss)

    return {"step": one_step, "forward": lambda: forward(*arguments).block_until_ready()}


def main(settings: Settings) -> None:
    """Time all variants and print a table."""
    variants: dict[str, tuple[str, ...]] = {"everything": ()}
    variants |= {f"without {part}": (part,) for part in WITHOUT}
    variants["without all of them"] = tuple(WITHOUT)
    compiled = {name: calls(settings, *parts) for name, parts in variants.items()}
    seconds: dict[str, dict[str, list[float]]] = {
        name: {kind: [] for kind in both} for name, both in compiled.items()
    }
    for _ in range(settings.rounds):
        for name, both in compiled.items():
            for kind, call in both.items():
                seconds[name][kind].append(peers.median_seconds(call, settings.repeats))
    table = Table(
        title=f"U-Net, width {settings.width}, {settings.channels} channels: ms a call",
        caption=f"medians of {settings.rounds} rounds; time saved, as a share of the whole",
    )
    for heading in ("", f"training step, batch {settings.batch}", "", "forward, batch 1", ""):
        table.add_column(heading, justify="right")
    data: dict[str, dict[str, float]] = {}
    for name, both in seconds.items():
        data[name] = {kind: float(np.median(values)) for kind, values in both.items()}
        row = []
        for kind, value in data[name].items():
            share = 1 - value / data["everything"][kind]
            row += [f"{1e3 * value:.1f}", "" if name == "everything" else f"{share:.0%}"]
        table.add_row(name, *row)
    peers.show(table, data, settings.json)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
