"""WT maps of the paper, and properties of every map."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wtflow_jax.flow.maps import MAPS, power
from wtflow_jax.flow.maps.norms import BatchNorm, Identity, LayerNorm


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    # Every axis has its own scale, so that a swapped one shows.
    x = rng.normal(size=(5, 3, 4, 6)) * np.arange(1, 7) + np.arange(3)[:, None, None]
    return jnp.asarray(x, jnp.float32)


def test_layer_norm_puts_each_sample_on_the_sphere(features):
    wt = LayerNorm()
    x0 = wt.apply(wt.fit(features), features)
    np.testing.assert_allclose(jnp.mean(x0, axis=(1, 2, 3)), 0, atol=1e-6)
    norms = jnp.linalg.norm(x0.reshape(5, -1), axis=1)
    # Lemma 5, short of √D by ε / (2σ²) of it.
    np.testing.assert_allclose(norms, np.sqrt(3 * 4 * 6), rtol=1e-5)


def test_layer_norm_of_a_sample_does_not_see_the_others(features):
    wt = LayerNorm()
    stats = wt.fit(features)
    alone = wt.apply(stats, features[2:3])
    np.testing.assert_array_equal(alone[0], wt.apply(stats, features)[2])


def test_batch_norm_uses_the_training_statistics(features):
    wt = BatchNorm()
    stats = wt.fit(features)
    flat = np.asarray(features, np.float64).reshape(-1, 6)
    np.testing.assert_allclose(stats.mean, flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(stats.variance, flat.var(0), rtol=1e-5)
    expected = (np.asarray(features[:1]) - flat.mean(0)) / np.sqrt(flat.var(0))
    np.testing.assert_allclose(wt.apply(stats, features[:1]), expected, rtol=1e-4, atol=1e-5)


def test_batch_norm_makes_the_mean_squared_norm_the_dimension(features):
    wt = BatchNorm()
    x0 = wt.apply(wt.fit(features), features)
    squared = jnp.sum(jnp.square(x0), axis=(1, 2, 3))
    assert float(jnp.std(squared)) > 1  # Lemma 6 is of the mean, not of each sample
    np.testing.assert_allclose(jnp.mean(squared), 3 * 4 * 6, rtol=1e-4)


def test_none_changes_nothing(features):
    wt = Identity()
    np.testing.assert_array_equal(wt.apply(wt.fit(features), features), features)


def test_a_power_keeps_signs(features):
    rooted = power(features, 0.5)
    np.testing.assert_allclose(jnp.sign(rooted) * jnp.square(rooted), features, rtol=1e-5)
    assert power(features, 1.0) is features
    assert bool(jnp.isfinite(power(jnp.zeros((1, 3)), 0.5)).all())


@pytest.mark.parametrize("name", MAPS)
def test_statistics_are_arguments(name, features):
    """One compiled map serves every category: no constants of one in the code of another."""
    wt, traces = MAPS.make(name), []

    @jax.jit
    def apply(stats, x):
        traces.append(1)
        return wt.apply(stats, x)

    for scale in (1.0, 3.0):
        apply(wt.fit(scale * features), features)
    assert len(traces) == 1


@pytest.mark.parametrize("name", MAPS)
def test_constant_features_stay_finite(name):
    x = jnp.full((2, 2, 2, 3), 7.0)
    wt = MAPS.make(name)
    assert bool(jnp.isfinite(wt.apply(wt.fit(x), x)).all())


def test_works_on_plain_vectors():
    x = jnp.array([[1.0, 2.0], [3.0, 6.0]])
    wt = BatchNorm()
    np.testing.assert_allclose(wt.apply(wt.fit(x), x), [[-1, -1], [1, 1]], atol=1e-4)


def test_batch_norm_of_batches_is_that_of_all(features):
    """Chan, Golub, LeVeque: the batches differ in size and in mean."""
    whole, parts = (
        BatchNorm().fit(features),
        BatchNorm().fit_batches(iter([features[:1], features[1:]])),
    )
    for a, b in zip(parts, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("name", MAPS)
def test_statistics_are_restored_by_their_names(name, features):
    wt = MAPS.make(name)
    stats = wt.fit(features)
    named = stats._asdict() if hasattr(stats, "_asdict") else dict(stats)
    restored = wt.restore(named)
    np.testing.assert_array_equal(wt.apply(restored, features), wt.apply(stats, features))
