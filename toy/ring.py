"""Figure 1: points inside a ring drift inwards before they reach it.

A velocity field is trained to carry N(μ, σ²I) to the ring of radius √2 (``targets.sphere`` in two
dimensions). Claim: on average trajectories first move towards the origin.

    python toy/ring.py --out runs/ring.png          # about half a minute on two CPU cores
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from wtflow_jax import ode, targets, train
from wtflow_jax.types import Params, Sample, Time

MEAN = (0.5, 0.2)
RADIUS = float(np.sqrt(2))


class MLP(nn.Module):
    """A velocity in the plane: three hidden layers of 128."""

    @nn.compact
    def __call__(self, t: Time, x: Sample) -> Sample:
        """Return v(x, t) (2,) for x (2,)."""
        y = jnp.concatenate([x, jnp.stack([t, jnp.sin(jnp.pi * t), jnp.cos(jnp.pi * t)])])
        for _ in range(3):
            y = nn.silu(nn.Dense(128)(y))
        return nn.Dense(2)(y)


def velocity_fn(params: Params, t: Time, x: Sample) -> Sample:
    """The MLP as a velocity of one sample."""
    return MLP().apply(params, t, x)  # pyright: ignore[reportReturnType]


class Panel(NamedTuple):
    """Trajectories of 40 points for one σ: (40, 51, 2), and the final training loss."""

    sigma: float
    trajectories: Float[np.ndarray, "40 51 2"]
    loss: float


def compute(
    sigmas: Sequence[float] = (0.05, 0.2, 0.4), epochs: int = 60, samples: int = 4096
) -> list[Panel]:
    """Train a field for each σ and follow 40 points through it.

    Args:
        sigmas: standard deviations of the data.
        epochs: passes over the samples, 16 steps each at the default size.
        samples: how many are drawn to train on.
    """
    objective = train.Objective(velocity_fn, targets.sphere, weight_decay=0.0)
    panels = []
    for sigma in sigmas:
        data_key, test_key, init_key, key = jax.random.split(jax.random.key(0), 4)

        def draw(key: Array, n: int, sigma: float = sigma) -> Float[Array, "n 2"]:
            return jnp.array(MEAN) + sigma * jax.random.normal(key, (n, 2))

        params = MLP().init(init_key, jnp.zeros(()), jnp.zeros(2))
        run = train.train(
            objective,
            train.init_state(objective, params),
            draw(data_key, samples),
            key=key,
            seed=0,
            epochs=epochs,
            batch_size=256,
            initial_rate=3e-3,
            decay_at=(0.6, 0.85),
            on_device=True,
        )
        *_, epoch = run
        path = ode.trajectory(velocity_fn, epoch.state.params, draw(test_key, 40), steps=50)
        panels.append(Panel(sigma, np.asarray(path), epoch.loss))
    return panels


def plot(panels: Sequence[Panel], path: Path) -> None:
    """Draw the trajectories in the plane, and their distance from the origin over time."""
    figure = Figure(figsize=(4 * len(panels), 7), layout="constrained")
    axes = figure.subplots(2, len(panels), squeeze=False, height_ratios=(3, 2))
    angle = np.linspace(0, 2 * np.pi, 200)
    for (plane, radial), panel in zip(axes.T, panels, strict=True):
        plane.plot(RADIUS * np.cos(angle), RADIUS * np.sin(angle), color="black", lw=1)
        for points in panel.trajectories:
            plane.plot(*points.T, color="tab:blue", lw=0.6, alpha=0.7)
        plane.scatter(*panel.trajectories[:, 0].T, s=8, color="black", zorder=3, label="t = 0")
        plane.scatter(*panel.trajectories[:, -1].T, s=8, color="tab:red", zorder=3, label="t = 1")
        plane.scatter(0, 0, marker="+", color="black", zorder=4)
        plane.set(title=f"σ = {panel.sigma}", aspect="equal", xlim=(-1.7, 1.7), ylim=(-1.7, 1.7))
        radius = np.linalg.norm(panel.trajectories, axis=-1)
        t = np.linspace(0, 1, radius.shape[1])
        radial.plot(t, radius.T, color="tab:blue", lw=0.5, alpha=0.5)
        radial.plot(t, radius.mean(0), color="tab:red", lw=2, label="mean")
        radial.axhline(RADIUS, color="black", lw=1)
        radial.set(xlabel="t", ylim=(0, 1.6))
    axes[0, 0].legend(fontsize=8)
    axes[1, 0].set_ylabel("distance from the origin")
    axes[1, 0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def main(out: Path = Path("runs/ring.png")) -> None:
    """Compute the figure and write it to ``out``."""
    plot(compute(), out)
    print(f"written to {out}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
