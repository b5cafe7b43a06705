"""A fitted map and velocity: the same bits each time, from memory or disk; options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from raising import fails

from wtflow_jax.detector import detector
from wtflow_jax.detector.config import configure
from wtflow_jax.support import shards

CONFIG = configure(width=8, epochs=2, batch_size=4, velocity="patch", start=0.0, residual=False)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(1, 2, (6, 4, 4, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def fitted(x):
    return detector.fit(CONFIG, jnp.asarray(x))


def equal(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(bool((x == y).all()) for x, y in pairs)


def test_fitting_again_gives_the_same_bits(fitted, x):
    assert equal(detector.fit(CONFIG, jnp.asarray(x)).params, fitted.params)
    assert not equal(detector.fit(CONFIG.but(seed=1), jnp.asarray(x)).params, fitted.params)


@pytest.mark.parametrize("wt", ["none", "batch_norm", "layer_norm"])
def test_features_on_disk_are_fitted_alike(wt, x, tmp_path):
    stored = shards.write(tmp_path, x.shape[1:], iter([iter([x[:4]]), iter([x[4:]])]))
    config = CONFIG.but(wt=wt, power=0.5)
    (a, start), (b, other) = (detector.init(config, f) for f in (jnp.asarray(x), stored))
    assert equal(start, other)
    for one, two in zip(jax.tree.leaves(a.stats), jax.tree.leaves(b.stats), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"velocity": "exact"}, "--velocity exact: needs all training features in memory"),
        ({"wt": "whiten"}, "--wt whiten: needs all training features in memory"),
    ],
    ids=str,
)
def test_what_needs_all_features_in_memory_is_one_line(flags, said, x, tmp_path):
    stored = shards.write(tmp_path, x.shape[1:], iter([iter([x])]))
    with fails(said):
        detector.init(CONFIG.but(**flags), stored)


@pytest.mark.parametrize("velocity", [pytest.param("unet", marks=pytest.mark.long), "patch"])
def test_weights_rounded_once_are_those_rounded_at_each_call(velocity):
    config = CONFIG.but(velocity=velocity, precision="bfloat16")
    maps = jax.random.normal(jax.random.key(0), (6, 4, 4, 16))
    found, _ = detector.init(config, maps)
    # Of a network whose last layer is not zero.
    params = jax.tree.map(lambda p: p + 0.1, found.params)
    rounded = config.velocity.rounded(params)
    assert {leaf.dtype for leaf in jax.tree.leaves(rounded) if leaf.ndim > 1} == {
        jnp.dtype("bfloat16")
    }
    velocity_fn, t = jax.jit(config.velocity.velocity_fn()), jnp.float32(0.4)
    each, once = (velocity_fn(p, t, maps[0]) for p in (params, rounded))
    np.testing.assert_array_equal(each, once)
    plain = config.but(precision="float32")
    same = zip(*map(jax.tree.leaves, (plain.velocity.rounded(params), params)), strict=True)
    assert all(ours is given for ours, given in same)


def test_a_norm_in_front_of_the_network_is_no_wt_map(x):
    config = CONFIG.but(input_norm=True)
    velocity_fn = config.velocity.velocity_fn()
    assert config.velocity.velocity_fn() is velocity_fn
    found, _ = detector.init(config, jnp.asarray(x))
    one, t = jnp.asarray(x[0]), jnp.float32(0.4)
    seen = (one - one.mean()) / jnp.sqrt(one.var() + 1e-5)
    # Some parameters that are not zero in the last layer.
    params = jax.tree.map(lambda p: p + 0.1, found.params)
    plain = config.but(input_norm=False).velocity.velocity_fn()
    np.testing.assert_allclose(
        velocity_fn(params, t, one), plain(params, t, seen), rtol=1e-4, atol=1e-5
    )


def test_one_objective_for_the_whole_run():
    one, same = detector.objective(CONFIG, 6), detector.objective(CONFIG.but(), 6)
    # Equal parts share their compiled programs.
    assert one == same
    assert hash(one) == hash(same)
    assert one != detector.objective(CONFIG.but(epochs=10), 6)
    # 6 samples are 2 steps an epoch.
    assert detector.objective(CONFIG.but(epochs=10), 6).decay_at == (8, 16)
