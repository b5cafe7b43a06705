"""The mixture's field, density and score against float64, and its two ends: one Gaussian, data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from wtflow_jax.flow import ode
from wtflow_jax.geometry import empirical, gaussian, mixture
from wtflow_jax.geometry.gaussian import Gaussian
from wtflow_jax.geometry.mixture import Mixture, mixture_velocity

RNG = np.random.default_rng(0)
K, C, R = 3, 4, 2


@pytest.fixture(scope="module")
def law():
    axes = np.linalg.qr(RNG.normal(size=(C, C)))[0]
    parts = Gaussian(
        RNG.normal(size=(K, C)), axes, RNG.uniform(0.1, 1, C), RNG.normal(size=(K, R, C)),
        RNG.uniform(0, 1, (K, R)),
    )  # fmt: skip
    weights = np.log([0.2, 0.5, 0.3])
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), Mixture(weights, parts))


def of_group(law, group):
    own = {name: getattr(law.parts, name)[group] for name in ("mean", "basis", "excess")}
    return Mixture(law.log_weights[group], law.parts._replace(**own))


def components(law, t):
    """Weights, means (k, c), covariances (k, c, c) and those of x_t, in float64."""
    of = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), law)
    own = np.einsum("krc,kr,krd->kcd", of.parts.basis, of.parts.excess, of.parts.basis)
    covariance = of.parts.axes @ (own + np.diag(of.parts.spread)) @ of.parts.axes.T
    inflated = (1 - t) ** 2 * covariance + t**2 * np.eye(C)
    return np.exp(of.log_weights), of.parts.mean, covariance, (1 - t) * of.parts.mean, inflated


@pytest.mark.parametrize("t", [0.0, 0.01, 0.4, 0.99, 1.0])
def test_velocity_score_and_density_are_those_by_definition(law, t):
    weights, means, covariances, centres, inflated = components(law, t)
    x = RNG.normal(size=C)
    parts = zip(centres, inflated, strict=True)
    joint = np.log(weights) + [multivariate_normal(m, s).logpdf(x) for m, s in parts]
    share = np.exp(joint - logsumexp(joint))
    solved = [np.linalg.solve(s, x - m) for m, s in zip(centres, inflated, strict=True)]
    # E[x1 − x0 | x_t = x], by the expectations of each component.
    first = [m + (1 - t) * s @ w for m, s, w in zip(means, covariances, solved, strict=True)]
    expected = share @ (t * np.array(solved) - np.array(first))
    given = law, jnp.float32(t), jnp.asarray(x, jnp.float32)
    np.testing.assert_allclose(mixture_velocity(*given), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(mixture.score(*given), -share @ solved, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(mixture.responsibilities(*given), share, rtol=1e-4, atol=1e-5)
    assert mixture.log_density(*given) == pytest.approx(logsumexp(joint), rel=1e-4)
    if t == 0:
        np.testing.assert_allclose(expected, -x, atol=1e-10)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_score_is_the_gradient_of_the_density_and_the_velocity_by_lemma_2(law, t):
    x, t = jnp.asarray(RNG.normal(size=C), jnp.float32), jnp.float32(t)
    score = mixture.score(law, t, x)
    gradient = jax.grad(mixture.log_density, 2)(law, t, x)
    np.testing.assert_allclose(score, gradient, rtol=1e-4, atol=1e-4)
    expected = -x / (1 - t) - t / (1 - t) * score
    np.testing.assert_allclose(mixture_velocity(law, t, x), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_its_density_is_that_which_the_flow_carries(law):
    """log p_0(x0) = log N(x̂1; 0, I) + ∫ ∇·u dt, by Diffrax."""
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), law)
        x0 = jnp.asarray(RNG.normal(size=(5, C)))
        found = ode.log_likelihood(mixture_velocity, wide, x0, steps=200, solver="dopri5")
        expected = jax.vmap(mixture.log_density, (None, None, 0))(wide, jnp.float64(0), x0)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_one_component_is_a_gaussian(law, t):
    one = law.parts._replace(
        mean=law.parts.mean[:1], basis=law.parts.basis[:1], excess=law.parts.excess[:1]
    )
    x, t = jnp.asarray(RNG.normal(size=C), jnp.float32), jnp.float32(t)
    for name in ("score", "log_density"):
        found = getattr(mixture, name)(Mixture(jnp.zeros(1), one), t, x)
        np.testing.assert_allclose(found, getattr(gaussian, name)(one, t, x), rtol=1e-5)
    expected = gaussian.gaussian_velocity(one, t, x)
    found = mixture_velocity(Mixture(jnp.zeros(1), one), t, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("t", [0.05, 0.3, 1.0])
def test_as_many_points_as_data_are_the_empirical_field(t):
    """Covariances that go to zero, and K = N."""
    data = jnp.asarray(RNG.normal(size=(20, C)), jnp.float32)
    none = jnp.zeros((20, 0, C))
    points = Gaussian(data, jnp.eye(C), jnp.full(C, 1e-9), none, none[..., 0])
    law = Mixture(jnp.full(20, -jnp.log(20.0)), points)
    x, t = jnp.asarray(RNG.normal(size=C) / 2, jnp.float32), jnp.float32(t)
    for name in ("velocity", "score", "log_density"):
        names = [
            f"{word}_velocity" if name == "velocity" else name for word in ("mixture", "empirical")
        ]
        found, expected = (
            getattr(module, name)(of, t, x)
            for module, name, of in zip((mixture, empirical), names, (law, data), strict=True)
        )
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-4)


def test_it_is_fitted_to_moments():
    """Each component has the mean and, of all its directions, the covariance of its vectors."""
    x = RNG.normal(size=(2, 200, C)) @ RNG.normal(size=(C, C)) + 3
    share = RNG.dirichlet(np.ones(K), size=(2, 200))
    with jax.enable_x64(True):
        law = mixture.of_responsibilities(jnp.asarray(x), jnp.asarray(share), 0.25, C)
    within, own = np.zeros((C, C)), {}
    for group, k in np.ndindex(2, K):
        weight = share[group, :, k]
        mean = weight @ x[group] / weight.sum()
        own[group, k] = np.cov(x[group].T, aweights=weight, ddof=0)
        within += weight.sum() * own[group, k] / 400
        np.testing.assert_allclose(law.parts.mean[group, k], mean, rtol=1e-6)
        assert law.log_weights[group, k] == pytest.approx(np.log(weight.mean()))
    shared = within + 0.01 * np.trace(within) / C * np.eye(C)
    for group in range(2):
        for k, found in enumerate(components(of_group(law, group), 0)[2]):
            expected = 0.75 * own[group, k] + 0.25 * shared
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_covariances_that_are_all_the_same():
    x = jnp.asarray(RNG.normal(size=(1, 50, C)), jnp.float32)
    law = mixture.of_responsibilities(x, jax.nn.one_hot(jnp.arange(50) % 2, 2)[None], 1, C)
    assert law.parts.basis.shape == (1, 2, 0, C)
    found = mixture_velocity(of_group(law, 0), jnp.float32(0.1), x[0, 0])
    assert np.isfinite(found).all()
