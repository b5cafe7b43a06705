"""Gradients in parameters, samples and time: reverse mode against differences in float64."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from wtflow_jax import geometry
from wtflow_jax.flow import loss, ode, scores
from wtflow_jax.flow.maps import norms, whitening
from wtflow_jax.geometry import empirical, gaussian, mixture
from wtflow_jax.velocities.exact import Exact

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
START = 0.2
STEP = 3e-5
"""Of a difference."""


def check(function, arguments, precision="float64"):
    """Compare derivatives along a direction in each argument."""
    widths = [ravel_pytree(argument)[0].size for argument in arguments]
    owner = np.repeat(np.arange(len(widths)), widths)
    drawn = np.random.default_rng(1).normal(size=owner.size)
    directions = [np.where(owner == i, drawn, 0) for i in range(len(widths))]

    def derivative(dtype):
        flat, unravel = ravel_pytree(jax.tree.map(lambda x: np.asarray(x, dtype), arguments))
        return flat, jax.jit(jax.value_and_grad(lambda flat: function(*unravel(flat))))

    with jax.enable_x64(True):
        flat, both = derivative("float64")
        # Of one program: to compile is what takes time.
        ends = [(both(flat + STEP * d)[0], both(flat - STEP * d)[0]) for d in directions]
        wanted = np.array([float(high - low) / (2 * STEP) for high, low in ends])
        gradient = np.asarray(both(flat)[1])
    if precision == "float32":
        flat, both = derivative("float32")
        gradient = np.asarray(both(flat)[1], np.float64)
    found = np.array([gradient @ d for d in directions])
    allowed = 1e-5 if precision == "float64" else 1e-3
    np.testing.assert_allclose(found, wanted, rtol=0, atol=allowed * np.abs(gradient).max())


def weighted(values):
    """A scalar with a different weight for each value."""
    return jnp.vdot(values, jnp.cos(jnp.arange(values.size).reshape(values.shape)))


# Velocities of the plane


def mlp(params, t, x):
    return params["s"] * jnp.tanh(jnp.append(x, t) @ params["a"]) @ params["b"]


def scaling(params, t, x):
    """The flow of a Gaussian: a divergence that is the same for all x."""
    return params["s"] * x


def shear(params, t, x):
    """The same, although the velocity is not linear in x."""
    return params["s"] * jnp.stack([jnp.sin(x[1]) + t, 0.3 * x[1]])


def drift(params, t, x):
    """The same for all x."""
    return params["s"] * jnp.stack([1 + t, t**2])


def inwards(params, t, x):
    """Without parameters."""
    return -x * (1 + t)


VELOCITIES = {f.__name__: f for f in (mlp, drift, scaling, shear, inwards)}
PARAMS = {"a": RNG.normal(size=(3, 8)), "b": RNG.normal(size=(8, 2)), "s": np.array(0.9)}

FUNCTIONS = {
    "push_forward": lambda v, p, x, t: ode.push_forward(v, p, x, t_start=t),
    "heun": lambda v, p, x, t: ode.push_forward(v, p, x, steps=3, solver="heun", t_start=t),
    "dopri5": lambda v, p, x, t: ode.push_forward(v, p, x, steps=2, solver="dopri5", t_start=t),
    "trajectory": lambda v, p, x, t: ode.trajectory(v, p, x, steps=4, t_start=t),
    "log_likelihood": lambda v, p, x, t: ode.log_likelihood(v, p, x, steps=3, t_start=t),
    "dopri5 likelihood": lambda v, p, x, t: ode.log_likelihood(
        v, p, x, steps=1, solver="dopri5", t_start=t
    ),
    "hutchinson": lambda v, p, x, t: ode.log_likelihood(v, p, x, KEY, steps=2, probes=2, t_start=t),
    "rfm_loss": lambda v, p, x, t: loss.rfm_loss(v, p, (1 - t) * x, KEY),
    "radial_profile": lambda v, p, x, t: geometry.radial_profile(v, p, x, steps=2, t_start=t),
    "field_error": lambda v, p, x, t: jnp.stack(
        geometry.field_error(v, p, inwards, None, x, t[None], KEY)
    ),
    "lipschitz_profile": lambda v, p, x, t: jnp.stack(
        geometry.lipschitz_profile(v, p, x, jnp.stack([t, 2 * t]), KEY)
    ),
}


LIKELIHOODS = "log_likelihood", "dopri5 likelihood", "hutchinson"
"""These take the velocity's divergence, too: of every kind."""
PAIRS = {*product(FUNCTIONS, ("mlp", "drift")), *product(LIKELIHOODS, VELOCITIES)}
EVERY_DAY = {
    *("push_forward mlp", "trajectory drift", "log_likelihood scaling", "hutchinson scaling"),
    *("rfm_loss mlp", "lipschitz_profile drift", "field_error mlp"),
}
"""The others take minutes."""


@pytest.mark.parametrize(
    ("name", "velocity"),
    [
        pytest.param(*pair, marks=() if " ".join(pair) in EVERY_DAY else pytest.mark.long)
        for pair in sorted(PAIRS)
    ],
)
def test_on_the_way(name, velocity):
    def scalar(params, x, t):
        return weighted(FUNCTIONS[name](VELOCITIES[velocity], params, x, t))

    check(scalar, (PARAMS, RNG.normal(size=(3, 2)), START))


@pytest.mark.long
# What draws noise draws other numbers in float64.
@pytest.mark.long
@pytest.mark.parametrize("name", ["push_forward", "trajectory", "log_likelihood", "hutchinson"])
def test_in_float32(name):
    def scalar(params, x, t):
        return weighted(FUNCTIONS[name](shear, params, x, t))

    check(scalar, (PARAMS, RNG.normal(size=(3, 2)), START), "float32")


@pytest.mark.long
@pytest.mark.parametrize("velocity", [mlp, drift], ids=lambda f: f.__name__)
def test_adaptive_steps(velocity):
    def scalar(params, x, t):
        # Its steps depend on x as well: a difference sees that where the tolerance is not small.
        ends, _ = ode.push_forward_adaptive(velocity, params, x, tolerance=1e-9, t_start=t)
        return weighted(ends)

    check(scalar, (PARAMS, RNG.normal(size=(3, 2)), START))


# Batches


def likelihood(rate, x, key=None, start=0.0):
    return ode.log_likelihood(scaling, {"s": rate}, x, key, steps=1, solver="euler", t_start=start)


@pytest.mark.parametrize("key", [None, KEY], ids=["exact", "hutchinson"])
@pytest.mark.parametrize("n", [1, 20, *(pytest.param(n, marks=pytest.mark.long) for n in (2, 5))])
def test_the_likelihood_of_a_batch_of_any_size(n, key):
    """One Euler step of v = s·x: log p = −(1 + s)²·‖x‖²/2 − log 2π + 2·s."""
    rate, x = jnp.float32(0.7), jnp.asarray(RNG.normal(size=(n, 2)), jnp.float32)
    squares = jnp.sum(jnp.square(x), axis=1)
    value, gradient = jax.value_and_grad(lambda s: likelihood(s, x, key).mean())(rate)
    wanted = jnp.mean(-((1 + rate) ** 2) * squares / 2 - jnp.log(2 * jnp.pi) + 2 * rate)
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    np.testing.assert_allclose(gradient, jnp.mean(2 - (1 + rate) * squares), rtol=1e-5)


X = jnp.asarray(RNG.normal(size=(4, 2)), jnp.float32)
OVER = {
    "samples": (lambda s, x: likelihood(s, x[None]), X),
    "keys": (lambda s, key: likelihood(s, X, key), jax.random.split(KEY, 4)),
    "starts": (lambda s, t: likelihood(s, X, None, t), jnp.linspace(0, 0.6, 4)),
    "rates": (lambda s, more: likelihood(s + more, X), jnp.linspace(0, 0.6, 4)),
    # The position depends on what is mapped, the divergence does not; and the other way round.
    "drifts": (lambda s, more: moved(s, more, False), jnp.linspace(0, 0.6, 4)),
    "directions": (lambda s, more: moved(s, more, True), jnp.linspace(0, 0.6, 4)),
}


def moved(rate, more, stretched):
    """The likelihood along v = s·x + a, or of samples that are moved at right angles to it."""

    def field(params, t, x):
        push = jnp.array([params["more"], 0.0]) * (x[1] if stretched else 1.0)
        return params["s"] * x + push

    return ode.log_likelihood(field, {"s": rate, "more": more}, X, steps=2, solver="euler")


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in ("samples", "drifts") else pytest.mark.long) for n in OVER],
)
def test_a_vmap_around_it(name):
    """The gradient of a sum is the sum of the gradients, in what the ``vmap`` leaves alone."""
    function, axis = OVER[name]
    rate = jnp.float32(0.7)
    whole = jax.grad(lambda s: jnp.sum(jax.vmap(lambda a: function(s, a).mean())(axis)))(rate)
    one = jax.jit(jax.grad(lambda s, a: function(s, a).mean()))
    np.testing.assert_allclose(whole, sum(one(rate, a) for a in axis), rtol=1e-5)


# Fields in closed form, maps and scores


@pytest.mark.parametrize("t", [0.05, 0.4])
@pytest.mark.parametrize(
    "field",
    [geometry.empirical_velocity, geometry.posterior_mean, empirical.score, empirical.log_density],
)
def test_the_exact_field(field, t):
    data = RNG.normal(size=(40, 3))
    check(lambda d, x, t: weighted(jnp.atleast_1d(field(d, t, x))), (data, data[0] + 0.1, t))


def _gaussians():
    return gaussian.Gaussian(
        mean=RNG.normal(size=(6, 4)),
        axes=np.linalg.qr(RNG.normal(size=(4, 4)))[0],
        spread=RNG.uniform(0.1, 2, 4),
        basis=RNG.normal(size=(6, 2, 4)),
        excess=RNG.uniform(0.1, 2, (6, 2)),
    )


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    "function",
    [
        *(gaussian.gaussian_velocity, gaussian.log_density, mixture.mixture_velocity),
        pytest.param(mixture.log_density, marks=pytest.mark.long),
        pytest.param(mixture.score, marks=pytest.mark.long),
    ],
)
def test_the_gaussian_field(function, t):
    law, shape = _gaussians(), (2, 3, 4)
    if function.__module__ == mixture.__name__:
        law, shape = mixture.Mixture(np.log(RNG.dirichlet(np.ones(6))), law), 4
    # At both ends of time the derivative in t is one-sided: not tested.
    given = (law, RNG.normal(size=shape), *[t] * (0 < t < 1))
    check(lambda law, x, t=t: weighted(jnp.atleast_1d(function(law, jnp.asarray(t), x))), given)


@pytest.mark.parametrize("neighbourhood", [None, 1])
def test_the_exact_field_of_patches(neighbourhood):
    part = Exact(neighbourhood=neighbourhood)
    maps = RNG.normal(size=(4, 3, 4, 2))
    data = maps if neighbourhood else maps.reshape(-1, 2)
    for field in filter(None, (part.velocity_fn(), part.portable())):
        check(lambda d, x, t, f=field: weighted(f(d, t, x)), (data, maps[0] + 0.1, 0.3))


def test_maps_move_gradients_through_their_statistics():
    maps = 3 + RNG.normal(size=(6, 2, 3, 4))
    batch_norm = norms.BatchNorm()
    check(lambda f: weighted(norms.LayerNorm().apply((), f)), (maps,))
    check(lambda f: weighted(batch_norm.apply(batch_norm.fit(f), f)), (maps,))
    stats = jax.tree.map(np.asarray, whitening.Whiten(rank=2).fit(jnp.asarray(maps, jnp.float32)))
    check(lambda s, f: weighted(whitening.apply(s, f)), (stats, maps))
    check(lambda s, f: weighted(whitening.log_likelihood(s, f)), (stats, maps))


@pytest.mark.parametrize("score", scores.SCORES)
def test_scores(score):
    where = scores.upsampling((12, 16), (3, 4), 4)

    def scalar(x1):
        maps = scores.upsample(scores.cell_scores(x1, score), where)
        return weighted(scores.image_scores(maps, 0.1)) + weighted(maps)

    check(scalar, (RNG.normal(size=(2, 3, 4, 5)),))


def test_the_mean_velocity():
    check(lambda x: weighted(geometry.mean_velocity(KEY, x, "sphere", 20)), (RNG.normal(size=3),))
