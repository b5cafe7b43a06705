"""Figure 1: points inside a ring drift inwards before they reach it.

A flow moves N(μ, σ²I) to the ring of radius √2. Claims: every point first drifts towards the
origin; points nearer the centre of their distribution are trapped more and end farther from the
ring. Both are tested for the trained field and for the exact field (derived in docs/toys.md).

    python toy/ring_flow.py                    # half a minute on two CPU cores
    python toy/ring_flow.py --smoke            # seconds; the numbers mean nothing

``--gif PATH`` also writes an animation of the exact flow at σ = 0.4.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.figure import Figure
from scipy.stats import rankdata

import plane
from wtflow_jax.flow import ode
from wtflow_jax.flow.types import Params, Sample, Time
from wtflow_jax.geometry.empirical import EARLIEST, posterior_mean

MEAN = (0.5, 0.2)
RADIUS = float(np.sqrt(2))
SIGMAS = (0.05, 0.2, 0.4)
POINTS = 1000
"""Number of new points for the figures."""
SHOWN = 40
"""Number of points drawn, as in the paper."""


class Panel(NamedTuple):
    """Trajectories of new points under one field: (1000, 51, 2)."""

    sigma: float
    field: str
    paths: Float[np.ndarray, "n k 2"]


def exact_velocity(params: Params, t: Time, x: Sample) -> Sample:
    """The exact velocity from N(μ, σ²I) to a ring: (E[x1 | x_t = x] − x)/(1 − t).

    Given x1 = y, x_t is normal with mean (1 − t)μ + ty and deviation (1 − t)σ. In units of σ about
    (1 − t)μ that is the empirical posterior of the ring's points at the reversed time 1 − t.

    Args:
        params: ``points`` of the ring (m, 2), ``mean`` (2,) and ``sigma`` of the data.
        t: in [0, 1]; values above 1 − EARLIEST are clipped to it.
        x: (2,).
    """
    remaining = jnp.maximum(1 - t, EARLIEST)
    sigma = params["sigma"]
    z = (x - remaining * params["mean"]) / sigma
    x1 = sigma * posterior_mean(params["points"] / sigma, remaining, z)
    return (x1 - x) / remaining


def exact_params(sigma: float, points: int = 2000) -> Params:
    """Return the parameters of ``exact_velocity``, with the ring as equally spaced points."""
    angle = 2 * jnp.pi * jnp.arange(points) / points
    ring = RADIUS * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    return {"points": ring, "mean": jnp.array(MEAN), "sigma": jnp.float32(sigma)}


def compute(smoke: bool = False) -> list[Panel]:
    """Train a field for each σ; solve for new points with it and with the exact field."""
    snapshots = (16, 32) if smoke else (400, 4000, 8000)
    panels = []
    for sigma in SIGMAS[-1:] if smoke else SIGMAS:
        data_key, test_key = jax.random.split(jax.random.key(0))
        data, x0 = (
            jnp.array(MEAN) + sigma * jax.random.normal(key, (n, 2))
            for key, n in ((data_key, 4096), (test_key, POINTS))
        )
        for steps, params in zip(
            snapshots, plane.fit(data, plane.ring(RADIUS), snapshots), strict=True
        ):
            paths = ode.trajectory(plane.velocity_fn, params, x0)
            panels.append(Panel(sigma, f"{steps} steps", np.asarray(paths)))
        paths = ode.trajectory(exact_velocity, exact_params(sigma), x0)
        panels.append(Panel(sigma, "exact", np.asarray(paths)))
    return panels


def turns(paths: Float[np.ndarray, "n k 2"]) -> np.ndarray:
    """Return which trajectories first come nearer to the origin and then move away, (n,) bool."""
    radius = np.linalg.norm(paths, axis=-1)
    lowest = radius.min(axis=1)
    return (lowest < radius[:, 0]) & (lowest < radius[:, -1]) & (radius[:, 1] < radius[:, 0])


def misses(paths: Float[np.ndarray, "n k 2"]) -> Float[np.ndarray, " n"]:
    """Return the distance from the ring at which each trajectory ends."""
    return np.abs(np.linalg.norm(paths[:, -1], axis=1) - RADIUS)


def trapping(paths: Float[np.ndarray, "n k 2"], centre: tuple[float, float] = MEAN) -> float:
    """Return the rank correlation of a point's start distance from a centre with its miss.

    It is negative if points nearer the centre end farther from the ring.
    """
    start = np.linalg.norm(paths[:, 0] - np.array(centre), axis=1)
    return float(np.corrcoef(rankdata(start), rankdata(misses(paths)))[0, 1])


def summary(panels: list[Panel]) -> list[str]:
    """Return one line per panel: both claims, as numbers."""
    lines = []
    for panel in panels:
        miss = misses(panel.paths).mean()
        lines.append(
            f"σ = {panel.sigma}, {panel.field}: {turns(panel.paths).sum()} of {len(panel.paths)} "
            f"first fall, then rise; end {miss:.4f} from the ring on average; "
            f"rank correlation with the distance from μ {trapping(panel.paths):+.2f}, "
            f"from the origin {trapping(panel.paths, (0.0, 0.0)):+.2f}"
        )
    return lines


def plot(panels: list[Panel]) -> Figure:
    """Draw one panel per field, one row per σ."""
    rows = sorted({panel.sigma for panel in panels})
    columns = len(panels) // len(rows)
    figure = Figure(figsize=(2.6 * columns, 2.7 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for axis, panel in zip(axes.flat, panels, strict=True):
        plane.draw_paths(axis, panel.paths[:SHOWN], RADIUS)
        axis.scatter(0, 0, marker="+", color="black", zorder=4)
        axis.set(title=f"σ = {panel.sigma}, {panel.field}", xlim=(-1.8, 1.8), ylim=(-1.8, 1.8))
        axis.title.set_fontsize(9)
        axis.tick_params(labelsize=7)
    figure.supxlabel("black: t = 0, red: t = 1, cross: origin", fontsize=8)
    return figure


def animate(sigma: float, path: Path, frames: int = 40) -> None:
    """Write the exact flow of 150 points as a GIF: they move inwards, then out to the ring."""
    x0 = jnp.array(MEAN) + sigma * jax.random.normal(jax.random.key(2), (150, 2))
    paths = np.asarray(ode.trajectory(exact_velocity, exact_params(sigma), x0, steps=frames))
    figure = Figure(figsize=(3.2, 3.4), layout="constrained")
    axis = figure.subplots()
    angle = np.linspace(0, 2 * np.pi, 200)
    axis.plot(RADIUS * np.cos(angle), RADIUS * np.sin(angle), color="black", lw=1)
    axis.scatter(0, 0, marker="+", color="black")
    axis.set(aspect="equal", xlim=(-1.8, 1.8), ylim=(-1.8, 1.8), xticks=[], yticks=[])
    trails = axis.plot(*paths[:, :1].T, color="tab:blue", lw=0.4, alpha=0.5)
    points = axis.scatter(*paths[:, 0].T, s=8, color="tab:red", zorder=3)

    def draw(frame: int) -> None:
        at = min(frame, frames)
        for trail, way in zip(trails, paths, strict=True):
            trail.set_data(*way[: at + 1].T)
        points.set_offsets(paths[:, at])
        axis.set_title(f"t = {at / frames:.2f}", fontsize=10)

    # The last frame stays for a while.
    FuncAnimation(figure, draw, frames + 15).save(path, PillowWriter(fps=12), dpi=70)


if __name__ == "__main__":
    plane.command_line("ring_flow", __doc__, compute, summary, plot, partial(animate, SIGMAS[-1]))
