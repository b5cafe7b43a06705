"""Whitening against covariances formed directly, SciPy's Gaussian, and unseen samples."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from raising import fails
from scipy.ndimage import convolve1d
from scipy.stats import multivariate_normal

from wtflow_jax.flow.maps import whitening
from wtflow_jax.flow.maps.spectrum import APART, RIDGE, Rank, spectrum


def fit(features, **options):
    return whitening.Whiten(**options).fit(features)


@pytest.fixture
def features():
    """Two positions of four correlated channels, each with a mean and a covariance of its own."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(1, 2, 4, 4))
    x = np.einsum("nhwc,hwcd->nhwd", rng.normal(size=(400, 1, 2, 4)), mix)
    return jnp.asarray(x + rng.normal(size=(1, 2, 4)), jnp.float32)


def covariance(x):
    x = np.asarray(x, np.float64)
    return np.cov(x.reshape(len(x), -1).T, ddof=0)


@pytest.mark.parametrize("images", [8, 40])
@pytest.mark.parametrize("near", [0.0, 0.125])
def test_products_are_in_full_float32_on_a_gpu_too(images, near):
    """As they are lowered for CUDA, where the default is TF32, of ten bits."""

    alphas = jnp.array([0.01, 0.3, 1.0])
    ranks = Rank(4, 2), Rank(4, 2)

    def fitted_and_applied(features):
        return whitening.apply(whitening._fit(features, alphas, ranks, 5, near), features)

    shape = jax.ShapeDtypeStruct((images, 3, 4, 16), jnp.float32)
    program = jax.export.export(jax.jit(fitted_and_applied), platforms=["cuda"])(shape)
    lines = program.mlir_module().splitlines()
    products = [line for line in lines if "stablehlo.dot_general" in line]
    assert len(products) > 10
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)


def test_alpha_1_whitens_all_positions_by_one_matrix(features):
    stats = fit(features, alpha=1.0)
    x0 = whitening.apply(stats, features) / stats.scale
    # Short of one by the ridge.
    np.testing.assert_allclose(covariance(np.asarray(x0).reshape(-1, 4)), np.eye(4), atol=0.06)


def test_small_alpha_whitens_each_position(features):
    stats = fit(features, alpha=1e-4)
    x0 = whitening.apply(stats, features)[:, 0] / stats.scale
    for position in (0, 1):
        np.testing.assert_allclose(covariance(x0[:, position]), np.eye(4), atol=0.01)
        np.testing.assert_allclose(x0[:, position].mean(0), 0, atol=0.01)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
def test_it_whitens_the_blended_covariance(features, alpha):
    """W Σ Wᵀ = I for Σ = (1 − α)Σ_p + α(Σ_all + ridge), formed here directly."""
    stats = fit(features, alpha=alpha)
    x = np.asarray(features, np.float64).reshape(400, 2, 4)
    everywhere = covariance(x.reshape(-1, 4))
    everywhere += RIDGE * np.trace(everywhere) / 4 * np.eye(4)
    origin = jnp.zeros((1, 1, 2, 4))
    for p in (0, 1):
        sigma = (1 - alpha) * covariance(x[:, p]) + alpha * everywhere
        probe = jnp.zeros((4, 1, 2, 4)).at[:, 0, p].set(jnp.eye(4))
        images = whitening.apply(stats, probe) - whitening.apply(stats, origin)
        w = np.asarray(images[:, 0, p], np.float64) / float(stats.scale)
        np.testing.assert_allclose(w.T @ sigma @ w, np.eye(4), atol=2e-3)
        mean = (1 - alpha) * x[:, p].mean(0) + alpha * x.mean((0, 1))
        at_mean = origin.at[0, 0, p].set(jnp.asarray(mean, jnp.float32))
        np.testing.assert_allclose(whitening.apply(stats, at_mean)[0, 0, p], 0, atol=1e-3)


def test_unseen_samples_have_norm_root_d():
    """Few samples of many channels: those that were fitted lie far inside the sphere."""
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(300, 2, 2, 24)) * np.arange(1, 25), jnp.float32)
    stats = fit(x[:150], alpha=0.05)
    seen, unseen = (
        float(jnp.mean(jnp.square(whitening.apply(stats, part)))) for part in (x[:150], x[150:])
    )
    assert unseen == pytest.approx(1, abs=0.1)
    assert seen < 0.9


def test_the_scale_is_fitted_on_some_of_many_positions():
    """576 positions, twice as wide below: the spaced ones stand for all."""
    rng = np.random.default_rng(4)
    width = 1 + np.arange(24)[:, None, None] / 23
    x = jnp.asarray(rng.normal(size=(160, 24, 24, 6)) * width, jnp.float32)
    stats = fit(x[:80], alpha=0.05)
    unseen = float(jnp.mean(jnp.square(whitening.apply(stats, x[80:]))))
    assert unseen == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_log_likelihood_is_scipys(features, scale):
    """The Gaussian whose covariance the map whitens, formed by inverting the map."""
    stats = fit(features[:50], alpha=0.3)._replace(scale=jnp.float32(scale))
    expected = np.zeros(5)
    for p in (0, 1):
        probe = jnp.zeros((5, 1, 2, 4)).at[1:, 0, p].set(jnp.eye(4))
        images = np.asarray(whitening.apply(stats, probe)[:, 0, p], np.float64)
        w = (images[1:] - images[0]).T
        inverse = np.linalg.inv(w)
        gaussian = multivariate_normal(-inverse @ images[0], inverse @ inverse.T)
        expected += gaussian.logpdf(np.asarray(features[50:55, 0, p], np.float64))
    found = whitening.log_likelihood(stats, features[50:55])
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_squares_for_several_alphas_are_those_of_each_map(features):
    """Of maps that the fit has not seen, with fewer directions than channels."""
    vectors = features.reshape(len(features), 2, 4)
    found = spectrum(vectors[:40], jnp.ones(40), Rank(3, 1))
    alphas = jnp.array([0.01, 0.3, 1.0])
    squares = whitening._squares(found, alphas, vectors[40:])
    for alpha, one in zip(alphas, squares, strict=True):
        x0 = whitening.apply(whitening.unscaled(found, alpha), vectors[40:])
        np.testing.assert_allclose(one, jnp.sum(jnp.square(x0), axis=(1, 2)), rtol=1e-4)


def test_held_out_likelihood_chooses_alpha():
    """Positions alike want α = 1; positions that differ, and samples enough to tell, a small α."""
    rng = np.random.default_rng(5)
    alike = jnp.asarray(rng.normal(size=(40, 1, 6, 8)), jnp.float32)
    mix = rng.normal(size=(1, 6, 8, 8))
    different = np.einsum("nhwc,hwcd->nhwd", rng.normal(size=(400, 1, 6, 8)), mix)

    def best(x):
        alphas = (0.01, 0.1, 1.0)
        values = [float(whitening.held_out_log_likelihood(x, alpha=a, rank=8)) for a in alphas]
        return alphas[int(np.argmax(values))]

    assert best(alike) == 1.0
    assert best(jnp.asarray(different, jnp.float32)) < 0.5


def test_memory_grows_with_the_rank_not_with_the_channels_squared():
    x = jnp.asarray(np.random.default_rng(2).normal(size=(30, 4, 4, 256)), jnp.float32)
    stats = fit(x, rank=8)
    assert sum(leaf.size for leaf in stats) < 256**2 + 16 * (8 + 1) * 257 + 259
    assert stats.basis.shape == (16, 8, 256)


def test_more_channels_than_samples_and_the_other_way_agree():
    """The two ways to the same eigenvectors."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(12, 1, 1, 12)).astype(np.float32)
    wide = fit(jnp.asarray(x[:11]), rank=10)
    tall = fit(jnp.asarray(np.concatenate([x[:11], x[:11]])), rank=10)
    probe = jnp.asarray(x)
    np.testing.assert_allclose(
        whitening.apply(wide, probe) / wide.scale,
        whitening.apply(tall, probe) / tall.scale,
        atol=2e-2,
    )


def test_the_smallest_alpha_still_whitens():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(400, 1, 2, 4)) @ rng.normal(size=(4, 4)), jnp.float32)
    stats = fit(x, alpha=1e-6)
    x0 = whitening.apply(stats, x)[:, 0] / stats.scale
    for position in (0, 1):
        np.testing.assert_allclose(covariance(x0[:, position]), np.eye(4), atol=0.01)


def test_one_sample_is_refused():
    with fails("whiten: 1 training sample; give at least 2, or another WT map"):
        fit(jnp.ones((1, 2, 2, 3)))


@pytest.mark.parametrize(("n", "c", "rank"), [(40, 10, 10), (10, 40, 10), (2, 40, 2)])
def test_rank_0_keeps_as_many_as_samples_or_channels(n, c, rank):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(n, 2, 2, c)), jnp.float32)
    assert fit(x, rank=0).basis.shape == (4, rank, c)


def test_rank_0_takes_directions_away_the_less_the_smaller_their_variance():
    rank = Rank.tapering(20)
    assert rank == (20, 7)
    parts = np.asarray(rank.parts())[::-1]
    np.testing.assert_array_equal(parts[:8], 1)
    np.testing.assert_allclose(np.diff(parts[7:]), -1 / 13, rtol=1e-5)
    assert parts[-1] == pytest.approx(1 / 13)
    np.testing.assert_array_equal(Rank(3, 3).parts(), 1)


@pytest.mark.parametrize("near", [0.0, 0.125])
def test_rank_0_is_the_tapered_residual_of_its_covariances(near):
    """Formed here by SciPy's convolution and NumPy's eigenvectors; up to one factor."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(3, 4, 12, 12))
    x = np.einsum("nhwc,hwcd->nhwd", rng.normal(size=(60, 3, 4, 12)), mix)
    stats = fit(jnp.asarray(x, jnp.float32), alpha=1e-6, rank=0, near=near)
    z = (x - np.asarray(stats.mean)) @ np.asarray(stats.shared)
    z -= z.mean(0)
    covariances = np.einsum("nhwc,nhwd->hwcd", z, z) / 60
    for axis in (0, 1):
        kernel = [near, 1 - 2 * near, near]
        covariances = convolve1d(covariances, kernel, axis=axis, mode="nearest")
    axes = np.linalg.eigh(covariances)[1]
    left = 1 - np.asarray(Rank.tapering(12).parts())
    wanted = np.einsum("hwck,k,hwdk,nhwd->nhwc", axes, left, axes, z)
    found = np.asarray(whitening.apply(stats, jnp.asarray(x, jnp.float32)))
    factor = float(stats.scale * stats.rest)
    np.testing.assert_allclose(found / factor, wanted, atol=5e-3)


def test_rank_0_takes_the_directions_of_all_positions_by_degrees():
    """At α = 1: from √APART of what rank 64 leaves of the widest to nearly all of the last."""
    rng = np.random.default_rng(6)
    widths = np.geomspace(10, 0.1, 12)
    x = jnp.asarray(rng.normal(size=(300, 2, 2, 12)) * widths, jnp.float32)
    plain, rare = fit(x, alpha=1.0), fit(x, alpha=1.0, rank=0)
    spread = [np.asarray(whitening.apply(s, x) / s.scale).std((0, 1, 2)) for s in (plain, rare)]
    left = APART**0.5 + (1 - APART**0.5) * np.arange(12) / 12
    np.testing.assert_allclose(spread[1] / spread[0], left, atol=0.02)
    assert float(jnp.mean(jnp.square(whitening.apply(rare, x)))) == pytest.approx(1, abs=0.05)


def test_neighbours_are_not_used_above_320_channels():
    x = jnp.asarray(np.random.default_rng(7).normal(size=(6, 3, 3, 321)), jnp.float32)
    alone, near = (fit(x, alpha=0.1, rank=4, near=part) for part in (0.0, 0.2))
    np.testing.assert_array_equal(near.basis, alone.basis)
    few = [fit(x[..., :320], alpha=0.1, rank=4, near=part) for part in (0.0, 0.2)]
    assert not np.allclose(few[1].gain, few[0].gain)


def test_a_small_alpha_leaves_what_the_principal_directions_do_not_explain():
    """The limit α → 0: the residual of PCA in white coordinates, up to one factor."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(2, 2, 12, 12))
    x = np.einsum("nhwc,hwcd->nhwd", rng.normal(size=(60, 2, 2, 12)), mix)
    stats = fit(jnp.asarray(x, jnp.float32), alpha=1e-6, rank=3)
    z = (x - np.asarray(stats.mean)) @ np.asarray(stats.shared)
    for i, j in np.ndindex(2, 2):
        own = z[:, i, j] - z[:, i, j].mean(0)
        axes = np.linalg.svd(own, full_matrices=False)[2][:3]
        wanted = own - own @ axes.T @ axes
        found = np.asarray(whitening.apply(stats, jnp.asarray(x, jnp.float32)))[:, i, j]
        factor = float(stats.scale * stats.rest)
        np.testing.assert_allclose(found / factor, wanted, atol=5e-3)
