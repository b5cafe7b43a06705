"""The Gaussian's field, density and score against covariances formed densely in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import fractional_matrix_power
from scipy.stats import multivariate_normal

from wtflow_jax.flow import ode
from wtflow_jax.flow.maps import whitening
from wtflow_jax.geometry import empirical_velocity, gaussian

RNG = np.random.default_rng(0)
SHAPE = 2, 3, 5


@pytest.fixture(scope="module")
def features():
    """Correlated features of six positions, off the origin."""
    mix = RNG.normal(size=(*SHAPE, 5)) + 2 * np.eye(5)
    x = np.einsum("nhwc,hwcd->nhwd", RNG.normal(size=(50, *SHAPE)), mix) + 3
    return jnp.asarray(x, jnp.float32)


@pytest.fixture(scope="module")
def stats(features):
    return whitening.Whiten(alpha=0.3, rank=3).fit(features)


@pytest.fixture(scope="module")
def law(stats):
    return gaussian.of_whitening(stats)


def dense(law):
    """Means (p, c) and covariances (p, c, c) in float64."""
    of = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), law)
    own = np.einsum("prc,pr,prd->pcd", of.basis, of.excess, of.basis) + np.diag(of.spread)
    return of.mean, of.axes @ own @ of.axes.T


def at(law, t):
    """Means and covariances of x_t."""
    mean, covariance = dense(law)
    return (1 - t) * mean, (1 - t) ** 2 * covariance + t**2 * np.eye(5)


@pytest.mark.parametrize("t", [0.0, 0.01, 0.4, 0.99, 1.0])
def test_velocity_score_and_density_are_the_dense_ones(law, features, t):
    mean, covariance = dense(law)
    centre, inflated = at(law, t)
    x = RNG.normal(size=SHAPE)
    y = x.reshape(6, 5) - centre
    change = t * np.eye(5) - (1 - t) * covariance
    expected = -mean + np.einsum("pcd,pd->pc", change @ np.linalg.inv(inflated), y)
    given = law, jnp.float32(t), jnp.asarray(x, jnp.float32)
    np.testing.assert_allclose(
        gaussian.gaussian_velocity(*given).reshape(6, 5), expected, rtol=1e-4, atol=1e-4
    )
    expected = -np.einsum("pcd,pd->pc", np.linalg.inv(inflated), y)
    np.testing.assert_allclose(gaussian.score(*given).reshape(6, 5), expected, rtol=1e-4, atol=1e-3)
    parts = zip(x.reshape(6, 5), centre, inflated, strict=True)
    expected = sum(multivariate_normal(m, c).logpdf(x) for x, m, c in parts)
    assert gaussian.log_density(*given) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_velocity_and_score_are_one_another(law, t):
    """Lemma 2: u = −x/(1 − t) − t/(1 − t)·∇log p_t, for a Gaussian target."""
    x = jnp.asarray(RNG.normal(size=SHAPE), jnp.float32)
    expected = -x / (1 - t) - t / (1 - t) * gaussian.score(law, jnp.float32(t), x)
    found = gaussian.gaussian_velocity(law, jnp.float32(t), x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_its_density_is_that_of_the_whitening(law, stats, features):
    found = jax.vmap(gaussian.log_density, (None, None, 0))(law, jnp.float32(0), features)
    expected = whitening.log_likelihood(stats, features)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_its_flow_ends_at_zca_whitening(stats, features):
    """x̂1 = Σ^(−1/2)(x0 − μ); its length at each position is that of the whitening's x0."""
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), stats)
        law, x0 = gaussian.of_whitening(wide), jnp.asarray(features[:4], jnp.float64)
        found = ode.push_forward(gaussian.gaussian_velocity, law, x0, steps=400, solver="dopri5")
        mean, covariance = dense(law)
        roots = np.stack([fractional_matrix_power(part, -0.5) for part in covariance])
        expected = np.einsum("pcd,npd->npc", roots, np.asarray(x0).reshape(4, 6, 5) - mean)
        np.testing.assert_allclose(found.reshape(4, 6, 5), expected, atol=1e-5)
        white = whitening.apply(wide, x0)
        lengths = jnp.sum(jnp.square(white), axis=-1)
    np.testing.assert_allclose(np.sum(np.square(found), axis=-1), lengths, rtol=1e-5)


def test_its_flow_ends_at_padims_distance(features):
    """√((x − μ)ᵀ(Σ + 0.01·I)⁻¹(x − μ)) of each position, Σ that of the training samples."""
    with jax.enable_x64(True):
        train = jnp.asarray(features[:30], jnp.float64)
        test = jnp.asarray(features[30:34], jnp.float64)
        law = gaussian.of_samples(train)
        found = ode.push_forward(gaussian.gaussian_velocity, law, test, steps=400, solver="dopri5")
        lengths = np.linalg.norm(found, axis=-1).reshape(4, 6)
    rows, points = np.asarray(train).reshape(30, 6, 5), np.asarray(test).reshape(4, 6, 5)
    for i in range(6):
        covariance = np.cov(rows[:, i].T) + 0.01 * np.eye(5)
        y = points[:, i] - rows[:, i].mean(axis=0)
        squares = np.einsum("nc,cd,nd->n", y, np.linalg.inv(covariance), y)
        np.testing.assert_allclose(lengths[:, i], np.sqrt(squares), rtol=1e-5)


def test_one_residual_step_is_the_score(law):
    """(1 − T)(x0 + u(x_T, T)) = −T·∇log p_T(x_T) at x_T = (1 − T)·x0, by Lemma 2."""
    x0, t = jnp.asarray(RNG.normal(size=SHAPE), jnp.float32), jnp.float32(0.2)
    step = x0 + gaussian.gaussian_velocity(law, t, (1 - t) * x0)
    score = gaussian.score(law, t, (1 - t) * x0)
    np.testing.assert_allclose((1 - t) * step, -t * score, rtol=1e-4, atol=1e-4)


def test_a_law_of_float32_under_x64(law, features):
    """A model that was fitted without x64 is asked with it: the solver's state is float64."""
    x0 = np.asarray(features[:2])
    expected = ode.push_forward(gaussian.gaussian_velocity, law, jnp.asarray(x0), steps=4)
    with jax.enable_x64(True):
        found = ode.push_forward(gaussian.gaussian_velocity, law, jnp.asarray(x0), steps=4)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_many_samples_have_its_field():
    """The empirical field of draws is near that of the law they are drawn from."""
    data = RNG.normal(size=(20_000, 3)) * [1, 0.5, 0.2] + 1
    zero = jnp.zeros((1, 1, 3))
    law = gaussian.Gaussian(
        jnp.ones((1, 3)), jnp.eye(3), jnp.asarray([1, 0.25, 0.04]), zero, zero[..., 0]
    )
    x, t = jnp.asarray([0.5, 0.2, 0.4]), jnp.float32(0.6)
    expected = empirical_velocity(jnp.asarray(data, jnp.float32), t, x)
    np.testing.assert_allclose(gaussian.gaussian_velocity(law, t, x), expected, atol=0.02)
