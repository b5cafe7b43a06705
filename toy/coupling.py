"""Figure 2: one point is coupled with all targets; the mean of its velocities points inwards.

Claims: the conditional velocities of one point average to −x, towards the origin. A worst transport
map moves the data from far inside the Gaussian annulus onto it (layer_norm every sample, batch_norm
on average), and so maximises this pull.

    python toy/coupling.py                     # seconds
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

import plane
from wtflow_jax.flow.maps import MAPS

RADIUS = 3.0
POINT = (1.2, 0.6)
DIMENSION = 256
NAMES = ("none", "batch_norm", "layer_norm")


class Coupling(NamedTuple):
    """Targets of one point in the plane, and norms of sparse data in 256 dimensions.

    Attributes:
        targets: draws of x1 on the ring (n, 2).
        norms: ‖x0‖/√D of each sample (m,), by WT map.
    """

    targets: Float[np.ndarray, "n 2"]
    norms: dict[str, Float[np.ndarray, " m"]]


def compute(smoke: bool = False) -> Coupling:
    """Draw targets and data; data are rectified like features, each sample at its own scale."""
    keys = jax.random.split(jax.random.key(0), 3)
    count = 200 if smoke else 4000
    draws = jax.vmap(lambda key: plane.ring(RADIUS)(key, (2,)))(jax.random.split(keys[0], count))
    scale = 0.3 * jnp.exp(0.3 * jax.random.normal(keys[1], (500, 1)))
    data = scale * jax.nn.relu(jax.random.normal(keys[2], (500, DIMENSION)) - 0.5)
    norms = {}
    for name in NAMES:
        wt = MAPS.make(name)
        x0 = wt.apply(wt.fit(data), data)
        norms[name] = np.asarray(jnp.linalg.norm(x0, axis=1)) / np.sqrt(DIMENSION)
    return Coupling(np.asarray(draws), norms)


def summary(result: Coupling) -> list[str]:
    """Return the mean velocity beside −x, and the data's norms with each map."""
    velocity = (result.targets - np.array(POINT)).mean(axis=0)
    lines = [
        f"mean of {len(result.targets)} velocities: ({velocity[0]:.3f}, {velocity[1]:.3f}); "
        f"−x = ({-POINT[0]}, {-POINT[1]})"
    ]
    for name, norms in result.norms.items():
        square = np.mean(norms**2)
        lines.append(
            f"{name}: ‖x0‖/√D from {norms.min():.3f} to {norms.max():.3f}, mean square {square:.3f}"
        )
    return lines


def plot(result: Coupling) -> Figure:
    """Draw the velocities of the point and their mean, and the norms by map."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    angle = np.linspace(0, 2 * np.pi, 200)
    left.plot(RADIUS * np.cos(angle), RADIUS * np.sin(angle), color="black", lw=1)
    x = np.array(POINT)
    for y in result.targets[:60]:
        left.plot(*np.stack([x, y]).T, color="tab:blue", lw=0.5, alpha=0.6)
    velocity = (result.targets - x).mean(axis=0)
    left.annotate(
        "", x + velocity, x, arrowprops={"arrowstyle": "-|>", "color": "tab:red", "lw": 2}
    )
    left.scatter(*x, s=20, color="black", zorder=4)
    left.set(aspect="equal", title="couplings of one point and their mean")
    right.boxplot(list(result.norms.values()), tick_labels=list(result.norms))
    right.axhline(1, color="black", lw=0.8, ls="--")
    right.set(ylabel="‖x0‖/√D", ylim=(0, None), title="where the data lie, annulus at 1")
    return figure


if __name__ == "__main__":
    plane.command_line("coupling", __doc__, compute, summary, plot)
