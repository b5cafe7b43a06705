"""Shared code of the toy figures: a small velocity network, its training, paths and pictures."""

import io
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wtflow_jax.detector import algorithm
from wtflow_jax.detector.algorithm import Start
from wtflow_jax.flow.maps.norms import Identity
from wtflow_jax.flow.targets import Target
from wtflow_jax.flow.types import Params, Sample, Samples, Time
from wtflow_jax.training.schedule import decay_steps
from wtflow_jax.training.state import Objective, init_state

BATCH = 256

Result = TypeVar("Result")


class MLP(nn.Module):
    """A velocity of vectors: three hidden layers of 128."""

    @nn.compact
    def __call__(self, t: Time, x: Sample) -> Sample:
        """Return v(x, t) (d,) for x (d,)."""
        y = jnp.concatenate([x, jnp.stack([t, jnp.sin(jnp.pi * t), jnp.cos(jnp.pi * t)])])
        for _ in range(3):
            y = nn.silu(nn.Dense(128)(y))
        return nn.Dense(x.shape[0])(y)


def velocity_fn(params: Params, t: Time, x: Sample) -> Sample:
    """The MLP as a velocity of one sample."""
    return MLP().apply(params, t, x)  # pyright: ignore[reportReturnType]


def fit(data: Samples, target: Target, snapshots: Sequence[int], seed: int = 0) -> list[Params]:
    """Train the MLP on data (n, d) and return its parameters after each of ``snapshots`` steps.

    Args:
        data: at least ``BATCH`` samples; n a multiple of it.
        target: distribution of x1.
        snapshots: ascending numbers of optimizer steps, multiples of n / BATCH.
        seed: decides initial weights, order and noise.
    """
    each = len(data) // BATCH
    epochs = snapshots[-1] // each
    decays = decay_steps(epochs, each, (0.6, 0.85))
    objective = Objective(velocity_fn, target, rate=3e-3, decay_at=decays, weight_decay=0.0)
    params = MLP().init(jax.random.split(jax.random.key(seed))[0], jnp.zeros(()), data[0])
    state, kept = init_state(objective, params), []
    run = algorithm.train(
        objective, state, Start(Identity()), (), data, seed=seed, epochs=epochs, batch_size=BATCH
    )
    for state, past, whole in run:
        if whole and past.epoch * each in snapshots:
            # Copy: the next step reuses this state's memory.
            kept.append(jax.tree.map(jnp.copy, state.params))
    return kept


@lru_cache  # A static argument of jitted functions: one object per radius.
def ring(radius: float) -> Target:
    """Return the uniform distribution on a circle about the origin as a target."""

    def draw(key: Array, shape: tuple[int, ...]) -> Sample:
        angle = jax.random.uniform(key, (), maxval=2 * jnp.pi)
        return radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)])

    return draw


def draw_paths(
    axis: Axes,
    paths: Float[np.ndarray, "n k 2"],
    radius: float | None = None,
    color: str = "tab:blue",
    end: str = "tab:red",
) -> None:
    """Draw trajectories with their ends, and the target circle."""
    if radius is not None:
        angle = np.linspace(0, 2 * np.pi, 200)
        axis.plot(radius * np.cos(angle), radius * np.sin(angle), color="black", lw=1)
    axis.plot(*np.moveaxis(paths, -1, 0).swapaxes(1, 2), color=color, lw=0.6, alpha=0.7)
    axis.scatter(*paths[:, 0].T, s=5, color="black", zorder=3)
    axis.scatter(*paths[:, -1].T, s=9, color=end, zorder=4)
    axis.set_aspect("equal")


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file's bytes; no display is needed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=80)
    return buffer.getvalue()


def command_line(
    name: str,
    description: str | None,
    compute: Callable[[bool], Result],
    summary: Callable[[Result], list[str]],
    plot: Callable[[Result], Figure],
    animate: Callable[[Path], None] | None = None,
) -> None:
    """Run a figure from the command line: print its numbers, write its picture.

    Pictures are drawn without a display.
    """

    def main(out: Path = Path("runs/toy"), smoke: bool = False, gif: Path | None = None) -> None:
        """Compute, print and draw.

        Args:
            out: directory of the picture.
            smoke: seconds instead of a minute; the numbers mean nothing.
            gif: file of the animation, if the figure has one.
        """
        if gif and animate is None:
            raise SystemExit(f"error: --gif {gif}: {name} has no animation; leave --gif out")
        if gif and gif.suffix != ".gif":
            raise SystemExit(f"error: --gif {gif}: give a file name that ends in .gif")
        for directory in (out, *([gif.parent] if gif else [])):
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise SystemExit(f"error: {directory}: {error.strerror}; give another") from error
        result = compute(smoke)
        print("\n".join(summary(result)))
        path = out / f"{name}.png"
        path.write_bytes(png(plot(result)))
        print(f"written to {path}")
        if gif and animate:
            animate(gif)
            print(f"written to {gif}")

    tyro.cli(main, description=description)
