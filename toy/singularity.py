"""Theorem 2: near t = 0 the exact field is as steep as 1/t, and no network can follow it.

Data on a curve in [0, 1]^D (Assumption 1). Claims: the local Lipschitz constant in x grows at least
like 1/T and stays below max{1/T, (1 − T)·D/T³}. A network's error grows towards t = 0.

    python toy/singularity.py                  # a minute on two CPU cores
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

import plane
from wtflow_jax.flow import targets
from wtflow_jax.flow.types import Samples
from wtflow_jax.geometry.empirical import empirical_velocity
from wtflow_jax.geometry.field_error import field_error
from wtflow_jax.geometry.lipschitz import lipschitz_bound, lipschitz_profile

DIMENSIONS = (2, 16, 128, 1024)
TIMES = (0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


class Profile(NamedTuple):
    """Figures by time (k,) for data of one dimension, largest or mean over samples.

    Attributes:
        dimension: D.
        exact: largest local Lipschitz constant in x of the exact field.
        network: the same for the trained network.
        in_time: largest ‖∂u/∂t‖ of the exact field.
        error: E‖v − u‖²/D at x_t of training data.
        size: E‖u‖²/D at the same positions.
    """

    dimension: int
    exact: Float[np.ndarray, " k"]
    network: Float[np.ndarray, " k"]
    in_time: Float[np.ndarray, " k"]
    error: Float[np.ndarray, " k"]
    size: Float[np.ndarray, " k"]


def curve(key: jax.Array, n: int, dimension: int) -> Samples:
    """Draw points of a closed curve in the unit cube; each coordinate is its own sine."""
    phase_key, position_key = jax.random.split(key)
    phase = jax.random.uniform(phase_key, (dimension,), maxval=2 * jnp.pi)
    frequency = 1 + jnp.arange(dimension) % 3
    s = jax.random.uniform(position_key, (n, 1), maxval=2 * jnp.pi)
    return 0.5 + 0.5 * jnp.sin(frequency * s + phase)


def compute(smoke: bool = False) -> list[Profile]:
    """Measure the exact field of 512 points and a network trained on them."""
    times = jnp.array(TIMES)
    profiles = []
    for d in DIMENSIONS[:2] if smoke else DIMENSIONS:
        key = jax.random.key(d)
        data = curve(key, 512, d)
        (params,) = plane.fit(data, targets.gaussian, (20 if smoke else 3000,))
        x0 = data[:16]
        exact = lipschitz_profile(empirical_velocity, data, x0, times, key)
        network = lipschitz_profile(plane.velocity_fn, params, x0, times, key)
        error = field_error(plane.velocity_fn, params, empirical_velocity, data, x0, times, key)
        columns = exact.space.max(1), network.space.max(1), exact.time.max(1), *error
        profiles.append(Profile(d, *(np.asarray(column) for column in columns)))
    return profiles


def summary(profiles: list[Profile]) -> list[str]:
    """Return two lines per dimension."""
    times = np.array(TIMES)
    lines = []
    for profile in profiles:
        bound = np.asarray(lipschitz_bound(jnp.asarray(times), profile.dimension))
        inside = (profile.exact <= 1.001 * bound).all()
        late = times >= 0.1
        lines.append(
            f"D = {profile.dimension}: exact field at most {profile.exact[0] * times[0]:.3f}/t at "
            f"t = {times[0]}; below the bound at all times: {'yes' if inside else 'NO'}; largest "
            f"share of it {np.max(profile.exact / bound):.2g} (from t = 0.1 on "
            f"{np.max((profile.exact / bound)[late]):.2g}); ‖∂u/∂t‖·t = "
            f"{profile.in_time[0] * times[0]:.3g} there"
        )
        lines.append(
            f"    network at most {profile.network.max():.3g}; its mean square error "
            f"{profile.error[0] / profile.size[0]:.2f} of the field's at t = {times[0]}, "
            f"{np.min(profile.error / profile.size):.3f} at best "
            f"(t = {times[np.argmin(profile.error / profile.size)]})"
        )
    return lines


def plot(profiles: list[Profile]) -> Figure:
    """Draw Lipschitz constants and errors against t, both axes logarithmic."""
    figure = Figure(figsize=(2.9 * len(profiles), 5), layout="constrained")
    axes = figure.subplots(2, len(profiles), squeeze=False, sharex=True, sharey="row")
    times = np.array(TIMES)
    for (above, below), profile in zip(axes.T, profiles, strict=True):
        d = profile.dimension
        above.loglog(times, (1 - times) * d / times**3, color="black", lw=0.8, ls=":")
        above.loglog(times, 1 / times, color="black", lw=0.8, ls="--")
        above.loglog(times, profile.exact, "o-", ms=3, color="tab:blue")
        above.loglog(times, profile.network, "o-", ms=3, color="tab:orange")
        above.set(title=f"D = {d}", ylim=(0.1, None))
        below.loglog(times, profile.size, "o-", ms=3, color="tab:blue")
        below.loglog(times, profile.error, "o-", ms=3, color="tab:orange")
        below.set(xlabel="t")
    axes[0, 0].legend(["(1 − t)·D/t³", "1/t", "exact field", "network"], fontsize=7)
    axes[1, 0].legend(["‖u‖²/D", "error of the network"], fontsize=7)
    axes[0, 0].set_ylabel("largest ‖∂v/∂x‖")
    axes[1, 0].set_ylabel("mean square")
    return figure


if __name__ == "__main__":
    plane.command_line("singularity", __doc__, compute, summary, plot)
