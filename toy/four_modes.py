"""Figure 5: the farther out four modes start, the more strongly they are first pulled inwards.

A flow moves four Gaussian modes at distance d from the origin to a ring of radius 10. Claim: the
centripetal pull grows with d, and a WT map maximises it. batch_norm scales the modes to the ring's
radius on average. The literal layer_norm of a point in the plane is one of the two points ±(1, −1):
four modes become two points (shown). In high dimensions layer_norm puts every sample on the
annulus; ``on_sphere`` shows this effect here.

    python toy/four_modes.py                   # half a minute on two CPU cores
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

import plane
from wtflow_jax.flow import ode
from wtflow_jax.flow.maps import MAPS
from wtflow_jax.flow.types import Samples

RADIUS = 10.0
DISTANCES = (2.0, 5.0, 8.0)
SPREAD = 0.5


class Panel(NamedTuple):
    """Trajectories of points of four modes (n, k, 2)."""

    name: str
    paths: Float[np.ndarray, "n k 2"]


def modes(key: jax.Array, n: int, distance: float) -> Samples:
    """Draw n points from four modes on the diagonals."""
    which_key, noise_key = jax.random.split(key)
    angle = jnp.pi / 4 + jnp.pi / 2 * jax.random.randint(which_key, (n,), 0, 4)
    centre = distance * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    return centre + SPREAD * jax.random.normal(noise_key, (n, 2))


def mapped(name: str, data: Samples) -> Samples:
    """Apply a WT map fitted to the data, scaled so that the annulus has the ring's radius."""
    if name == "none":
        return data
    if name == "on_sphere":
        return RADIUS * data / jnp.linalg.norm(data, axis=1, keepdims=True)
    wt = MAPS.make(name)
    return RADIUS / np.sqrt(2) * wt.apply(wt.fit(data), data)


def compute(smoke: bool = False) -> list[Panel]:
    """Train on the modes at each distance, and at the second one with each map."""
    cases = [("none", d) for d in DISTANCES]
    cases += [(name, DISTANCES[1]) for name in ("batch_norm", "layer_norm", "on_sphere")]
    panels = []
    for name, distance in cases[:1] if smoke else cases:
        data = mapped(name, modes(jax.random.key(0), 4096, distance))
        # The network works on coordinates divided by the radius.
        target = plane.ring(1.0)
        (params,) = plane.fit(data / RADIUS, target, (32 if smoke else 4000,))
        x0 = mapped(name, modes(jax.random.key(1), 60, distance)) / RADIUS
        paths = RADIUS * ode.trajectory(plane.velocity_fn, params, x0)
        panels.append(Panel(f"{name}, d = {distance:g}", np.asarray(paths)))
    return panels


def summary(panels: list[Panel]) -> list[str]:
    """Return one line per panel: the pull's strength, the lowest radius, and the end."""
    lines = []
    for panel in panels:
        radius = np.linalg.norm(panel.paths, axis=-1)
        mean = radius.mean(axis=0)
        steps = len(mean) - 1
        lines.append(
            f"{panel.name}: mean radius {mean[0]:.2f} at first, falling at "
            f"{(mean[0] - mean[1]) * steps:.2f} per unit of time; lowest {mean.min():.2f} "
            f"at t = {mean.argmin() / steps:.2f}; {mean[-1]:.2f} at the end "
            f"(5 to 95 %: {np.percentile(radius[:, -1], 5):.2f} to "
            f"{np.percentile(radius[:, -1], 95):.2f})"
        )
    return lines


def plot(panels: list[Panel]) -> Figure:
    """Draw the trajectories, and below them the radius over time."""
    figure = Figure(figsize=(2.5 * len(panels), 4.4), layout="constrained")
    axes = figure.subplots(2, len(panels), squeeze=False, height_ratios=(3, 2))
    for (above, below), panel in zip(axes.T, panels, strict=True):
        plane.draw_paths(above, panel.paths, RADIUS)
        above.set(xlim=(-12, 12), ylim=(-12, 12))
        above.set_title(panel.name, fontsize=9)
        radius = np.linalg.norm(panel.paths, axis=-1)
        t = np.linspace(0, 1, radius.shape[1])
        below.plot(t, radius.T, color="tab:blue", lw=0.4, alpha=0.5)
        below.plot(t, radius.mean(axis=0), color="tab:red", lw=2)
        below.axhline(RADIUS, color="black", lw=1)
        below.set(ylim=(0, 12), xlabel="t")
    axes[1, 0].set_ylabel("distance from the origin")
    return figure


if __name__ == "__main__":
    plane.command_line("four_modes", __doc__, compute, summary, plot)
