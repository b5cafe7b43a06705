"""Programs lowered for CUDA without a card: no product outside the networks is rounded.

NVIDIA's cards take products of float32 as TF32, of ten bits, unless they are told otherwise. The
networks that are trained may be fast; everything else says HIGHEST. Nothing calls back to the host,
and nothing is float64, which these cards do at a thirty-second of the speed.
"""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wtflow_jax.backbones import features, network
from wtflow_jax.detector import algorithm, detector, route
from wtflow_jax.detector.config import configure
from wtflow_jax.flow import couplings, ode, scores
from wtflow_jax.flow.maps import MAPS, kinds, power, whitening
from wtflow_jax.flow.maps.spectrum import Rank
from wtflow_jax.geometry import empirical, gaussian, mixture, radial
from wtflow_jax.training import state as training

C, N = 16, 24
MAP = 4, 4, C
RNG = np.random.default_rng(0)
FEATURES = jnp.asarray(RNG.gamma(2, size=(N, *MAP)), jnp.float32)
BANK = FEATURES.reshape(-1, C)
T, X = jnp.float32(0.5), BANK[0]
KEY = jax.random.key(0)
FAST = {"unet", "patch"}
"""Networks that are trained."""


def lowered(function, *arguments):
    """The program for CUDA, as StableHLO; nothing is run."""
    traced = jax.jit(function).trace(*arguments)
    return traced.lower(lowering_platforms=("cuda",)).as_text()


def rounded(program):
    """The products of matrices and convolutions that a card may round."""
    rows = [row.strip() for row in program.splitlines()]
    products = [row for row in rows if re.search(r"stablehlo\.(dot_general|convolution)", row)]
    return [row for row in products if row.count("HIGHEST") < 2 and "xf32>" in row]


def at_all(program):
    """Operations that a program for a card must not have."""
    return re.findall(r"f64|callback|stablehlo\.custom_call @\S*python\S*", program)


def law(count):
    """A Gaussian of one position, or a mixture."""
    one = gaussian.of_samples(BANK[:, None])
    if not count:
        return one
    share = jax.nn.one_hot(jnp.arange(len(BANK)) % count, count)[None]
    found = mixture.of_responsibilities(BANK[None], share, 0.1, 4)
    own = {name: getattr(found.parts, name)[0] for name in ("mean", "basis", "excess")}
    return mixture.Mixture(found.log_weights[0], found.parts._replace(**own))


def fields():
    """Velocities in closed form, what they are the score of, and its density."""
    for module, data in ((empirical, BANK), (gaussian, law(0)), (mixture, law(3))):
        name = module.__name__.rpartition(".")[2]
        for what in (f"{name}_velocity", "score", "log_density"):
            yield f"{name}: {what}", getattr(module, what), (data, T, X)


def whitened():
    stats = whitening.Whiten().fit(FEATURES)
    alphas, rank = jnp.array([0.01, 0.3, 1.0]), Rank(4, 2)
    fit = partial(whitening._fit.__wrapped__, ranks=(rank, rank), folds=5, near=0.125)
    yield "whitening: fit", fit, (FEATURES, alphas)
    like = partial(whitening._like.__wrapped__, rank=rank, near=0.125)
    yield "whitening: fit of fewer", like, (stats, FEATURES)
    yield "whitening: log-likelihood", whitening.log_likelihood, (stats, FEATURES)
    weights = jnp.ones(len(BANK))
    left_out = partial(kinds._left_out.__wrapped__, rank=rank)
    yield "kinds: left out", left_out, (BANK[:, None], weights, weights)
    own = partial(kinds._own.__wrapped__, rank=rank)
    yield "kinds: fit", own, (BANK[:, None], weights)
    for name in MAPS:
        wt = MAPS.make(name)
        yield f"{name}: apply", wt.apply, (wt.fit(FEATURES), FEATURES)


def others():
    field = empirical.empirical_velocity
    yield "power", partial(power, exponent=0.5), (FEATURES,)
    yield "solve", partial(ode.push_forward, field, steps=2), (BANK, BANK[:3])
    yield "way back", partial(ode.pull_back, field, steps=2), (BANK, BANK[:3])
    likelihood = partial(ode.log_likelihood, gaussian.gaussian_velocity, steps=2)
    yield "likelihood", likelihood, (law(0), BANK[:3])
    yield "optimal couplings", couplings.optimal, (FEATURES[:4], FEATURES[4:8])
    yield "radii", partial(radial.radial_profile, field, steps=2), (BANK, BANK[:3])
    where = scores.upsampling((64, 64), (4, 4), 16)
    finish = partial(route.finished, top_fraction=0.03)
    yield "maps and image scores", finish, ((FEATURES[..., 0],) * 2, where)


EXACT = {name: (function, given) for name, function, given in (*fields(), *whitened(), *others())}


@pytest.mark.parametrize("name", EXACT)
def test_the_mathematics_is_not_rounded(name):
    function, arguments = EXACT[name]
    program = lowered(function, *arguments)
    assert not rounded(program)
    assert not at_all(program)


@pytest.mark.long
@pytest.mark.parametrize("velocity", ["none", "exact", "gaussian", "mixture", "unet", "patch"])
def test_from_features_to_scores(velocity):
    config = configure(velocity=velocity, wt="whiten", **({"width": 8} if velocity in FAST else {}))
    fitted, state = detector.init(config, FEATURES)
    how = partial(algorithm.sample, detector.sampling(config))
    program = lowered(how, fitted.params, fitted.stats, FEATURES[:2])
    # The network does have rounded products, so the test can detect them.
    assert bool(rounded(program)) == (velocity in FAST)
    assert not at_all(program)
    if state is not None:
        step = partial(training._step, detector.objective(config, N))
        index = jnp.arange(4, dtype=jnp.int32)
        assert not at_all(lowered(step, state, FEATURES[:4], index, KEY))


@pytest.mark.parametrize("same", [True, False])
def test_a_convolution_of_a_backbone(same):
    conv = {"weight": jnp.ones((3, 3, C, C)), "bias": jnp.ones(C)}
    taken = lambda conv, x: features.pool(network.convolve(conv, x, 2, same=same))  # noqa: E731
    program = lowered(taken, conv, FEATURES)
    assert "stablehlo.convolution" in program
    assert not rounded(program)
    assert not at_all(program)


def test_what_is_looked_for_is_found():
    assert rounded(lowered(jnp.matmul, BANK, BANK.T))
    # No card takes it without its own plugin.
    assert at_all(jax.jit(lambda x: jax.debug.callback(print, x)).lower(T).as_text())
