"""Exact fields as a family: PaDiM's score at one end, PatchCore's at the other.

Claims: the exact flow of a Gaussian whitens, so its endpoint's norm is the Mahalanobis distance.
The residual of the field of points, for T → 0, is the distance to the nearest point. Mixtures of
Gaussians lie between. A field confined to few dimensions leaves x0 unchanged in all others.

    python toy/family.py                    # seconds
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

import plane
from wtflow_jax.flow import ode
from wtflow_jax.flow.types import Params, Samples, VelocityFn
from wtflow_jax.geometry import (
    empirical_velocity,
    gaussian,
    gaussian_velocity,
    posterior_mean,
    span,
)
from wtflow_jax.geometry.gaussian import Gaussian
from wtflow_jax.geometry.mixture import Mixture, mixture_velocity

CENTRES = np.array([[-1.2, -0.5], [0.2, 0.9], [1.3, -0.2]])
ANGLES = (0.3, 1.2, -0.7)
DEVIATIONS = (0.45, 0.12)
SIDE = 3.0
"""Half the width of the pictures."""
LATE = 1e-4
"""T in place of the limit T → 0."""


class Family(NamedTuple):
    """The results.

    Attributes:
        data: the points (n, 2).
        grid: coordinates of the score grid (m,), for both axes.
        maps: score on the grid (m, m), by member.
        errors: largest error, by claim.
        radii: root mean square of ‖x_t‖ by t (2, k): measured, and in closed form.
    """

    data: Float[np.ndarray, "n 2"]
    grid: Float[np.ndarray, " m"]
    maps: dict[str, Float[np.ndarray, "m m"]]
    errors: dict[str, float]
    radii: Float[np.ndarray, "2 k"]


def points(n: int) -> Float[np.ndarray, "n 2"]:
    """Draw data from three Gaussians."""
    rng = np.random.default_rng(0)
    found = []
    for centre, angle in zip(CENTRES, ANGLES, strict=True):
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        found.append(centre + rng.normal(size=(n // 3, 2)) * DEVIATIONS @ turn)
    return np.concatenate(found).astype(np.float32)


def law(data: Samples) -> Gaussian:
    """Return the Gaussian fitted to points."""
    return gaussian.of_samples(data, ridge=1e-6)


def mixture(data: Samples, parts: int) -> Mixture:
    """Split the points into ``parts`` equal runs; return the mixture of their Gaussians."""
    every = jax.vmap(law)(data.reshape(parts, -1, 2))
    own = Gaussian(
        every.mean[:, 0], every.axes[0], every.spread[0], every.basis[:, 0], every.excess[:, 0]
    )
    return Mixture(jnp.full(parts, -jnp.log(parts)), own)


def ends(velocity_fn: VelocityFn, params: Params, x0: Samples) -> Samples:
    """Return endpoints, by 200 steps of Dopri5."""
    return ode.push_forward(velocity_fn, params, x0, steps=200, solver="dopri5")


def residual(velocity_fn: VelocityFn, params: Params, x0: Samples, t: float) -> Samples:
    """Return T·(x0 + v(x_T, T)), which is x0 − E[x0 | x_T]."""
    step = jax.vmap(velocity_fn, (None, None, 0))(params, jnp.float32(t), (1 - t) * x0)
    return t * (x0 + step)


def compute(smoke: bool = False) -> Family:
    """Compute scores on a grid, and compare each claim with its closed form."""
    data, m = jnp.asarray(points(90 if smoke else 300)), 15 if smoke else 121
    axis = np.linspace(-SIDE, SIDE, m, dtype=np.float32)
    x = jnp.asarray(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2))
    one, three = law(data), mixture(data, 3)
    # The first axis only.
    line = span.Span(-one.mean[0], jnp.eye(2)[:1])
    confined = span.confined(gaussian_velocity), (line, one)
    with jax.enable_x64(True):
        wide = [jnp.asarray(part, jnp.float64) for part in (data, x)]
        whole = np.asarray(ends(gaussian_velocity, law(wide[0]), wide[1]))
    nearest = jnp.min(jnp.linalg.norm(x[:, None] - data, axis=-1), axis=1)
    kept = ends(*confined, x)
    last = x - jax.vmap(posterior_mean, (None, None, 0))(data, jnp.float32(LATE), (1 - LATE) * x)
    vectors = {
        "one Gaussian: ‖x̂1‖, PaDiM": whole,
        "three Gaussians: residual, T = 0.2": residual(mixture_velocity, three, x, 0.2),
        "the points: residual, T → 0, PatchCore": last,
        "one Gaussian, in one dimension: ‖x̂1‖": kept,
    }
    maps = {name: np.linalg.norm(v, axis=-1).reshape(m, m) for name, v in vectors.items()}
    rows = np.asarray(data, np.float64)
    mean, covariance = rows.mean(0), np.cov(rows.T) + 1e-6 * np.eye(2)
    values, directions = np.linalg.eigh(covariance)
    white = (np.asarray(x) - mean) @ (directions / np.sqrt(values) @ directions.T)
    times = jnp.linspace(0, 1, 51)
    path = ode.trajectory(mixture_velocity, three, data, steps=50, solver="heun")
    measured = np.sqrt(np.square(path).sum(-1).mean(0))
    square = np.square(data).sum(-1).mean()
    closed = np.sqrt((1 - times) ** 2 * square + times**2 * 2)
    given = jnp.float32(0.3), x[:: max(1, m // 3)]
    some = Gaussian(data, jnp.eye(2), jnp.full(2, 1e-8), *_none(len(data)))
    fields = {
        "a mixture of one is the Gaussian's": (
            (mixture_velocity, mixture(data, 1)),
            (gaussian_velocity, one),
        ),
        "a mixture of points is theirs": (
            (mixture_velocity, Mixture(jnp.full(len(data), -jnp.log(len(data))), some)),
            (empirical_velocity, data),
        ),
    }
    errors = {
        "the Gaussian's flow ends at Σ^(−1/2)(x0 − μ), of the longest": np.abs(whole - white).max()
        / np.abs(white).max(),
        "the points' residual is the distance to the nearest": np.abs(
            np.linalg.norm(last, axis=-1) - nearest
        ).max(),
        "confined to the first axis, the second is left as x0 − μ": np.abs(
            kept[:, 1] - (x - mean)[:, 1]
        ).max(),
    }
    for name, pair in fields.items():
        first, second = (jax.vmap(fn, (None, None, 0))(p, *given) for fn, p in pair)
        errors[f"{name}, t = 0.3"] = np.abs(first - second).max()
    radii = np.stack([measured, closed])
    return Family(np.asarray(data), axis, maps, {k: float(v) for k, v in errors.items()}, radii)


def _none(n: int) -> tuple[jax.Array, jax.Array]:
    """Return empty arrays: n Gaussians without further directions."""
    return jnp.zeros((n, 0, 2)), jnp.zeros((n, 0))


def summary(result: Family) -> list[str]:
    """Return a line for each claim."""
    lines = [f"{name}: to {error:.1e}" for name, error in result.errors.items()]
    measured, closed = result.radii
    at = int(np.argmin(closed))
    lines.append(
        f"the mean square of ‖x_t‖ is (1 − t)²E‖x0‖² + t²D: least at t = {at / 50:g}, "
        f"{measured[at]:.3f} measured and {closed[at]:.3f}"
    )
    return lines


def plot(result: Family) -> Figure:
    """Draw each score on the plane, and the radius by t."""
    figure = Figure(figsize=(15, 3.4), layout="constrained")
    panels = figure.subplots(1, 5)
    for axis, (name, scores) in zip(panels, result.maps.items(), strict=False):
        axis.contourf(result.grid, result.grid, scores, levels=12, cmap="Blues")
        axis.scatter(*result.data.T, s=3, color="black", linewidth=0)
        axis.set_title(name, fontsize=9)
        axis.set_aspect("equal")
    times = np.linspace(0, 1, result.radii.shape[1])
    measured, closed = result.radii
    panels[4].plot(times, closed, color="0.7", lw=4, label="√((1 − t)²E‖x0‖² + t²D)")
    panels[4].plot(times, measured, color="black", lw=1, label="three Gaussians, measured")
    panels[4].set_title("mean square of ‖x_t‖, root", fontsize=9)
    panels[4].set_xlabel("t")
    panels[4].legend(fontsize=8)
    return figure


if __name__ == "__main__":
    plane.command_line("family", __doc__, compute, summary, plot)
