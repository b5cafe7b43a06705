"""Equation 13: the mean velocity towards a centred target is −x, whatever the target.

Claim: V(d) = −d for a ring, and |V| grows with d. It also holds for the sphere and the Gaussian in
any dimension, because only their mean matters, and it is the origin. (Eq. 13 has one minus sign too
many before the integral.)

    python toy/potential.py                    # seconds
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

import plane
from wtflow_jax.flow import targets
from wtflow_jax.geometry.centripetal import mean_velocity

DIMENSIONS = (2, 16, 128, 1024)
FRACTIONS = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Distances from the origin, in units of √D."""


class Potential(NamedTuple):
    """Radial part of the mean of x1 − x, by target and dimension.

    Attributes:
        distances: d (dimensions, fractions).
        measured: V(d) by Monte Carlo (dimensions, fractions), by target.
        deviation: largest standard error of a figure.
    """

    distances: Float[np.ndarray, "m k"]
    measured: dict[str, Float[np.ndarray, "m k"]]
    deviation: float


def compute(smoke: bool = False) -> Potential:
    """Draw targets for points on a random axis (ring: the sphere in two dimensions)."""
    draws = 500 if smoke else 20_000
    distances = np.array([[f * np.sqrt(d) for f in FRACTIONS] for d in DIMENSIONS])
    mean = jax.jit(mean_velocity, static_argnums=(2, 3))
    measured = {}
    for name in ("sphere", "gaussian"):
        rows = []
        for d, row in zip(DIMENSIONS, distances, strict=True):
            key = jax.random.key(d)
            axis = jax.random.normal(key, (d,))
            axis /= jnp.linalg.norm(axis)
            rows.append(
                [float(axis @ mean(key, r * axis, targets.TARGETS[name], draws)) for r in row]
            )
        measured[name] = np.array(rows)
    return Potential(distances, measured, 1 / np.sqrt(draws))


def summary(result: Potential) -> list[str]:
    """Return one line per target: the largest deviation from −d, also in standard errors."""
    expected = -result.distances
    return [
        f"{name}, D = {', '.join(map(str, DIMENSIONS))}: V(d) + d at most "
        f"{np.abs(values - expected).max():.4f}, "
        f"{np.abs(values - expected).max() / result.deviation:.1f} standard errors"
        for name, values in result.measured.items()
    ]


def plot(result: Potential) -> Figure:
    """Draw V against d, both in units of √D."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    for axis, (name, values) in zip(
        figure.subplots(1, 2, sharey=True), result.measured.items(), strict=True
    ):
        axis.plot([0, 1], [0, -1], color="black", lw=1, label="−d")
        for d, at, v in zip(DIMENSIONS, result.distances, values, strict=True):
            axis.plot(at / np.sqrt(d), v / np.sqrt(d), "o", ms=4, alpha=0.6, label=f"D = {d}")
        axis.set(title=name + (" (D = 2: a ring)" if name == "sphere" else ""), xlabel="d/√D")
    figure.axes[0].set_ylabel("V(d)/√D")
    figure.axes[0].legend(fontsize=8)
    return figure


if __name__ == "__main__":
    plane.command_line("potential", __doc__, compute, summary, plot)
