"""How much time does the solver add to its network evaluations?

    python benchmarks/solver.py

Compares Diffrax' Euler with n steps to n times one bare evaluation of the same compiled velocity,
on a batch, in the same process and in turn.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import tyro

import peers
from wtflow_jax.flow import ode
from wtflow_jax.support.compilation import XLA_OPTIONS
from wtflow_jax.velocities.unet import UNet


@dataclass(frozen=True)
class Settings:
    """What to time."""

    width: int = 64
    """Base width of the network."""
    channels: int = 256
    """Channels of a map of 16 × 16 cells."""
    batch: int = 16
    """Maps per call."""
    steps: tuple[int, ...] = (1, 20)
    """Euler steps."""
    rounds: int = 5
    """Rounds of both."""
    repeats: int = 5
    """Timed calls per round, after two untimed calls."""
    json: Path | None = None
    """File for the figures."""


def main(settings: Settings) -> None:
    shape = 16, 16, settings.channels
    x = jax.random.normal(jax.random.key(1), (settings.batch, *shape))
    network = UNet(settings.width)
    velocity_fn, params = network.velocity_fn(), network.init(jax.random.key(0), x)

    def evaluate(params: dict, x: jax.Array) -> jax.Array:
        return jax.vmap(velocity_fn, (None, None, 0))(params, jnp.float32(0), x)

    def solve(params: dict, x: jax.Array, steps: int) -> jax.Array:
        return ode.push_forward(velocity_fn, params, x, steps=steps)

    bare = jax.jit(evaluate, compiler_options=XLA_OPTIONS)
    solved = jax.jit(solve, static_argnums=2, compiler_options=XLA_OPTIONS)
    found: dict[str, list[peers.Figures]] = {"Diffrax": [], "bare evaluations": []}
    for _ in range(settings.rounds):
        one = peers.median_seconds(lambda: bare(params, x).block_until_ready(), settings.repeats)
        found["bare evaluations"].append({str(n): n * one for n in settings.steps})
        found["Diffrax"].append(
            {
                str(n): peers.median_seconds(
                    lambda n=n: solved(params, x, n).block_until_ready(), settings.repeats
                )
                for n in settings.steps
            }
        )
    labels = {str(n): f"{n} Euler steps" for n in settings.steps}
    title = f"width {settings.width}, {settings.channels} channels, batch {settings.batch}: ms"
    peers.show(*peers.ratios(found, "Diffrax", labels, title), settings.json)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
