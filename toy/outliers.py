"""Figure 8: which outliers a flow trained on normals alone can detect.

Normals are N(0, I). Outliers N((−1, −1), 0.3 I) intersect their support, N((5, 5), 0.3 I) are
disjoint from it, N(0, 0.3 I) overlap it. Claim: disjoint outliers are found, intersecting ones only
partly, overlapping ones not.

    python toy/outliers.py                     # a quarter of a minute on two CPU cores
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

import plane
from wtflow_jax import metrics
from wtflow_jax.flow import ode, scores, targets
from wtflow_jax.geometry.empirical import empirical_velocity

OUTLIERS = {"intersecting": (-1.0, -1.0), "disjoint": (5.0, 5.0), "overlapping": (0.0, 0.0)}
START = 0.1
"""Start time in the exact field, which is singular at t = 0."""


class Panel(NamedTuple):
    """Trajectories of normals and of one kind of outliers under one field."""

    field: str
    kind: str
    normal: Float[np.ndarray, "n k 2"]
    abnormal: Float[np.ndarray, "n k 2"]


def compute(smoke: bool = False) -> list[Panel]:
    """Train on normals; solve for new points with each snapshot and the exact field."""
    keys = jax.random.split(jax.random.key(0), 3)
    data = jax.random.normal(keys[0], (4096, 2))
    normal = jax.random.normal(keys[1], (200, 2))
    snapshots = (16, 32) if smoke else (400, 4000, 8000)
    fields = [
        (f"{steps} steps", plane.velocity_fn, params, 0.0)
        for steps, params in zip(
            snapshots, plane.fit(data, targets.gaussian, snapshots), strict=True
        )
    ] + [("exact", empirical_velocity, data, START)]
    panels = []
    for name, velocity_fn, params, start in fields:
        for kind, mean in OUTLIERS.items():
            abnormal = jnp.array(mean) + np.sqrt(0.3) * jax.random.normal(keys[2], (200, 2))
            ends = [
                np.asarray(ode.trajectory(velocity_fn, params, x, steps=20, t_start=start))
                for x in (normal, abnormal)
            ]
            panels.append(Panel(name, kind, *ends))
    return panels


def auroc(panel: Panel) -> list[float | None]:
    """Return AUROC by the density proxy, by ‖x̂1‖ and by ‖x0‖, which needs no flow."""
    both = np.concatenate([panel.normal, panel.abnormal])
    labels = np.arange(len(both)) >= len(panel.normal)
    proxy = np.asarray(scores.density_proxy(jnp.asarray(both[:, -1]))).mean(axis=1)
    norms = [np.linalg.norm(both[:, at], axis=1) for at in (-1, 0)]
    return [metrics.auroc(score, labels) for score in (proxy, *norms)]


def summary(panels: list[Panel]) -> list[str]:
    """Return one line per panel."""
    return [
        "{}, {}: AUROC {:.3f} by density proxy, {:.3f} by ‖x̂1‖, {:.3f} by ‖x0‖ alone".format(
            panel.field, panel.kind, *auroc(panel)
        )
        for panel in panels
    ]


def plot(panels: list[Panel]) -> Figure:
    """Draw one row per kind, one column per field; colours as in the paper."""
    columns = len(panels) // len(OUTLIERS)
    figure = Figure(figsize=(2.6 * columns, 8), layout="constrained")
    axes = figure.subplots(len(OUTLIERS), columns, squeeze=False)
    for axis, panel in zip(axes.T.flat, panels, strict=True):
        plane.draw_paths(axis, panel.normal[:40], color="olive", end="olive")
        plane.draw_paths(axis, panel.abnormal[:40], color="orange", end="orange")
        axis.set(xlim=(-4, 7), ylim=(-4, 7))
        axis.tick_params(labelsize=7)
        axis.set_title(f"{panel.kind}, {panel.field}: {auroc(panel)[0]:.2f}", fontsize=9)
    figure.supxlabel(
        "olive: normals, orange: outliers, black: where they start; AUROC by density proxy",
        fontsize=9,
    )
    return figure


if __name__ == "__main__":
    plane.command_line("outliers", __doc__, compute, summary, plot)
