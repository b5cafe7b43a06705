# %% [markdown]
# # The centripetal potential field at a glance
#
# On the way $x_t = (1 - t)\,x_0 + t\,x_1$ from data $x_0$ to noise $x_1 \sim N(0, I)$ the best
# velocity is $u(x, t) = E[x_1 - x_0 \mid x_t = x]$. It has a potential, for any data:
#
# $$u(x, t) = -\nabla \Phi_t(x), \qquad
# \Phi_t(x) = \frac{\tfrac12 \lVert x \rVert^2 + t \log p_t(x)}{1 - t},$$
#
# with $p_t$ the density of $x_t$. (Tweedie's formula $E[x_1 \mid x_t = x] = -t\,\nabla \log
# p_t(x)$ and $x = (1 - t)\,E[x_0 \mid x_t = x] + t\,E[x_1 \mid x_t = x]$ give it in two lines.)
#
# **The paper's claims.** At $t = 0$ this is the centripetal potential $\tfrac12 \lVert x
# \rVert^2$: $u(x, 0) = -x$ (Eq. 12, Proposition 1), stronger the farther out. So the radius first
# falls, then rises (Observation 2), and ends below $\sqrt D$ (Observation 1).
#
# **What follows exactly.** The mean over $x_1$ is $E[u(x_t, t) \mid x_0] \to -x_0$ for $t \to 0$,
# and the flow of $u$ has the radius
#
# $$E \lVert x_t \rVert^2 = (1 - t)^2\, E \lVert x_0 \rVert^2 + t^2 D .$$
#
# Below: a point, a ring, a Gaussian and real features in two dimensions.

# %%
import os
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from wtflow_jax import backbones, data
from wtflow_jax.backbones import features
from wtflow_jax.flow import ode
from wtflow_jax.geometry import Gaussian, empirical, empirical_velocity, gaussian, gaussian_velocity
from wtflow_jax.support.environment import CACHE

# %% [markdown]
# ## Parameters

# %%
SMOKE = "WTFLOW_SMOKE" in os.environ
RADIUS = 1.4  # root mean square of ‖x0‖; √D = 1.41
TIMES = (0.1, 0.5, 0.9)  # of the pictures
T = 0.02  # where transport starts, as fields of finite data are singular at t = 0
STEPS = 40 if SMOKE else 200  # Euler steps from there
DRAWS = 100 if SMOKE else 400  # of data
SINGLE = 30  # points that are followed one by one
SIDE = 3.2  # half the width of the pictures
GRID = 15 if SMOKE else 41
DIRECTIONS = slice(-2, None)  # principal directions of features, ascending
IMAGES = 4 if SMOKE else 30  # good and defective ones of the built-in category, each

# %% [markdown]
# ## The field in ten lines
#
# A law is any `log_density(law, t, x)`. The library has that of finite data and of a Gaussian; a
# ring's is a Bessel function.


# %%
def potential(log_density, law, t, x):
    """Return Φ of one point x at time t."""
    return (jnp.sum(x**2) / 2 + t * log_density(law, t, x)) / (1 - t)


def velocity(log_density, law, t, x):
    """Return u = −∇Φ."""
    return -jax.grad(potential, argnums=3)(log_density, law, t, x)


def ring(radius, t, x):
    """Return log p_t of x0 on a circle: noise N(0, t²I) around it, averaged over the angle."""
    length, shrunk = jnp.sqrt(jnp.sum(x**2) + 1e-12), (1 - t) * radius
    bessel = jnp.log(jax.scipy.special.i0e(shrunk * length / t**2))
    return bessel - (length - shrunk) ** 2 / (2 * t**2) - jnp.log(2 * jnp.pi * t**2)


# %% [markdown]
# ## Four laws of the data, and outsiders of each
#
# Real features: cells of the built-in category, EfficientNet-Lite0, whitened along their first two
# principal directions. Their outsiders are cells that lie in painted defects; for the others,
# points drawn from the square.

# %%
category = data.open_category(data.generate(CACHE / "builtin"), "texture")
backbone = backbones.load("efficientnet_lite0", cache=CACHE)


where = features.grid(backbone, dense=True)


def cells(samples):
    """Return features (k, c) of good cells, or of those whose centre is in a defect."""
    images = np.stack([data.read_image(sample.path, (256, 256)) for sample in samples])
    masks = np.stack([data.read_mask(sample, (256, 256)) for sample in samples])
    at = slice(int(where.offset), None, where.stride)
    chosen = masks[:, at, at] == bool(samples[0].label)
    return rng.permutation(features.compute(backbone, images, dense=True)[chosen])


rng = np.random.default_rng(0)
good = cells(category.train[:IMAGES])
defects = cells([sample for sample in category.test if sample.label][:IMAGES])
variance, directions = np.linalg.eigh(np.cov(good.T))
to_plane = RADIUS / np.sqrt(2) * directions[:, DIRECTIONS] / np.sqrt(variance[DIRECTIONS])
inside, outside = (jnp.float32((part - good.mean(0)) @ to_plane) for part in (good, defects))

# %%
square = rng.uniform(-SIDE, SIDE, (SINGLE, 2))
point = RADIUS * np.array([[0.8, 0.6]])
angles = rng.uniform(0, 2 * np.pi, DRAWS)
circle = RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1)
deviations = RADIUS * np.sqrt([0.85, 0.15])
bell = rng.normal(size=(DRAWS, 2)) * deviations
law = Gaussian(*map(jnp.float32, ([[0, 0]], np.eye(2), deviations**2, [[[1, 0]]], [[0]])))
# Log density, its parameters, data x0, single points inside and outside.
LAWS = {
    "a point": (
        empirical.log_density,
        jnp.float32(point),
        np.repeat(point, DRAWS, 0),
        point,
        square,
    ),
    "a ring": (ring, jnp.float32(RADIUS), circle, circle[:SINGLE], square),
    "a Gaussian": (gaussian.log_density, law, bell, bell[:SINGLE], square),
    "real features": (
        *(empirical.log_density, inside[:DRAWS], inside[:DRAWS]),
        *(inside[DRAWS : DRAWS + SINGLE], outside[:SINGLE]),
    ),
}
FIELDS = {name: partial(velocity, law[0]) for name, law in LAWS.items()}

# %% [markdown]
# It is the library's own field, where that has one; the ring is compared with 20,000 points of it.

# %%
x, t = jnp.array([0.7, -0.4]), jnp.float32(0.4)
turn = jnp.linspace(0, 2 * jnp.pi, 20001)[:-1]
many = RADIUS * jnp.stack([jnp.cos(turn), jnp.sin(turn)], axis=1)
for name, (_, law, *_) in LAWS.items():
    library = gaussian_velocity if name == "a Gaussian" else empirical_velocity
    difference = FIELDS[name](law, t, x) - library(many if name == "a ring" else law, t, x)
    print(f"{name}: −∇Φ and the library differ by {jnp.abs(difference).max():.1e}")

# %% [markdown]
# ## The pull at the start, and the radius
#
# At $t = T$, `pull` is the mean of $\langle u(x_t, t), x_0 \rangle$ over that of $\lVert x_0
# \rVert^2$: $-1$ is Proposition 1. `fixed` is the same at $x = x_0$ instead of $x_t$: $-1$ is Eq.
# 12. Then the root mean square of $\lVert x_t \rVert$ of the flow, beside the formula. `in` and
# `out` are the median radii at $t = 1$ of single points that start at $(1 - T)\,x_0$, without
# noise, as images do: data (of real features held-out ones), and outsiders.

# %%
times = np.linspace(T, 1, STEPS + 1)
half = np.searchsorted(times, 0.5)
HEADER = "{:15}{:>6}{:>7}{:>12}{:>9}{:>12}{:>9}{:>9}{:>9}"
print(
    HEADER.format(
        "", "pull", "fixed", "flow t = ½", "formula", "flow t = 1", "formula", "in", "out"
    )
)
radii = {}
for name, (_, law, x0, *singles) in LAWS.items():
    field, x0 = FIELDS[name], jnp.float32(x0)
    noise = jax.random.normal(jax.random.key(0), x0.shape)
    squares = jnp.sum(x0**2, axis=1)

    # The library starts at (1 − T)·x: this is x_T, noise and all, for the law of x_t to follow.
    start = x0 + T / (1 - T) * noise
    at = [jax.vmap(field, (None, None, 0))(law, jnp.float32(T), x) for x in ((1 - T) * start, x0)]
    pull, fixed = (jnp.mean(jnp.sum(u * x0, axis=1)) / jnp.mean(squares) for u in at)

    how = {"steps": STEPS, "t_start": T, "statistic": jnp.linalg.norm}
    cloud = ode.trajectory(field, law, start, **how)
    flow = np.sqrt(np.mean(np.square(cloud), axis=0))
    formula = np.sqrt((1 - times) ** 2 * jnp.mean(squares) + times**2 * 2)
    ways = [np.asarray(ode.trajectory(field, law, jnp.float32(part), **how)) for part in singles]
    radii[name] = flow, formula, ways
    ends = [np.median(way[:, -1]) for way in ways]
    figures = pull, fixed, flow[half], formula[half], flow[-1], formula[-1], *ends
    print(HEADER.format(name, *(f"{figure:.2f}" for figure in figures)))

# %%
# %matplotlib inline
axis = np.linspace(-SIDE, SIDE, GRID)
grid = jnp.asarray(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2), jnp.float32)
figure, panels = plt.subplots(4, 4, figsize=(10, 10), layout="constrained", dpi=54)
for row, (name, (log_density, law, x0, *_)) in zip(panels, LAWS.items(), strict=True):
    for panel, t in zip(row, TIMES, strict=False):
        both = partial(potential, log_density), FIELDS[name]
        phi, u = (jax.vmap(one, (None, None, 0))(law, jnp.float32(t), grid) for one in both)
        panel.contourf(axis, axis, np.reshape(phi, (GRID, GRID)), 20)
        ux, uy = np.reshape(u, (GRID, GRID, 2)).transpose(2, 0, 1)
        panel.streamplot(axis, axis, ux, uy, density=0.7, color="white", linewidth=0.7)
        panel.plot(*(1 - t) * np.asarray(x0[:300]).T, ".", ms=2, color="tab:red")
        panel.set(title=f"{name}, t = {t}", aspect="equal", xticks=[], yticks=[])
        panel.set(xlim=(-SIDE, SIDE), ylim=(-SIDE, SIDE))
    flow, formula, ways = radii[name]
    for way, color in zip(ways, ("tab:blue", "tab:red"), strict=True):
        row[-1].plot(times, way.T, color=color, lw=0.5, alpha=0.6)
    row[-1].plot(times, flow, color="black", lw=3)
    row[-1].plot(times, formula, "--", color="orange", lw=2)
    row[-1].set(title="radius on the way", xlabel="t", ylim=(0, 5))
plt.show()

# %% [markdown]
# **What to see.** Each row is a law of the data, red dots are $(1 - t)\,x_0$, the field flows from
# high (yellow) to low (blue).
#
# - *Gaussian, t = 0.1:* the only centripetal well. The field points to the origin from everywhere.
# - *Point and ring, t = 0.1:* the potential is a hill with its top at $x_0$, and a ridge along the
#   ring. The red dots at $(1 - t)\,x_0$ lie on its inner side and roll to the centre: that is the
#   pull. Outside the top points are pushed outwards.
# - *t = 0.9:* all laws look alike, a push outwards: noise of variance 1 must come out of a small
#   cloud.
# - *Radius:* black is the flow of the whole law, orange the formula: 0.99 at t = ½, 1.41 at the
#   end, for every law. The flow of 400 draws is within 0.06 of it. Blue are single data, red
#   outsiders: they fly off from a point and from a ring, unless they start inside it; those end at
#   the centre.
# - *Real features:* three clusters, three hills. Defects do not stand out, as two directions of 80
#   do not show them.
#
# ## Verdict
#
# | the paper | the exact field |
# |---|---|
# | Proposition 1: the pull at $t = 0$ is $-x_0$ | **yes**, in the mean over $x_1$, for every law |
# | Eq. 12: $u(x, t) \to -x$ at every $x$ | where data have a density (Gaussian); 0 on a point |
# | Observation 2: the radius falls, then rises | **yes**, by the formula, for every law |
# | Observation 1: it ends below $\sqrt D$ | **no** for the law, which ends at $\sqrt D$ |
#
# A single point of data, started without noise, does end below: 0 for the point, 1.2 for the ring.
# Trained networks end below as well (`docs/geometry.md`): they are not the exact field. Proofs are
# in `docs/method.md`, the mean over other targets in `potential`.
#
# ## Change this and see
#
# - `RADIUS = 0.3`: data near the centre, as without a WT map. The orange curve hardly falls, from
#   0.30 to 0.29. A WT map moves the data out, where the pull is strong. `pull` becomes noisy:
#   beside data so near, 400 draws of $x_1$, each about 1.41 long, do not average out.
# - `T = 0.2`: outsiders of the point end about ten times nearer than at 106. A late start has seen
#   less of the singularity.
