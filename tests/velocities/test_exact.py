"""The exact field of patches: which are kept, and which answer a position."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from raising import fails

from wtflow_jax.geometry import empirical_velocity
from wtflow_jax.velocities.exact import Exact

MAPS = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3, 4, 5)), jnp.float32)
KEY = jax.random.key(0)
T = jnp.float32(0.4)


def rows(x):
    return {tuple(row) for row in np.asarray(x).reshape(-1, x.shape[-1])}


def test_every_position_is_answered_from_one_bank():
    bank = Exact().init(KEY, MAPS)
    assert rows(bank) == rows(MAPS)
    v = Exact().velocity_fn()(bank, T, MAPS[1])
    expected = empirical_velocity(MAPS.reshape(-1, 5), T, MAPS[1, 2, 3])
    np.testing.assert_allclose(v[2, 3], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("radius", "window"), [(0, (slice(2, 3), slice(3, 4))), (1, (slice(0, 3), slice(1, 4)))]
)
def test_a_position_is_answered_from_its_neighbourhood(radius, window):
    """At the border the window is moved inwards."""
    part = Exact(neighbourhood=radius)
    v = part.velocity_fn()(part.init(KEY, MAPS), T, MAPS[1])
    expected = empirical_velocity(MAPS[:, *window].reshape(-1, 5), T, MAPS[1, 2, 3])
    np.testing.assert_allclose(v[2, 3], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("coreset", [False, True])
def test_a_bank_keeps_some_of_the_patches(coreset):
    bank = Exact(10, coreset=coreset).init(KEY, MAPS)
    assert bank.shape == (10, 5)
    assert len(rows(bank)) == 10
    assert rows(bank) <= rows(MAPS)


def test_a_coreset_reaches_the_far_ends():
    """Two of 1,000 patches lie far off: a random tenth misses them, the coreset cannot."""
    x = np.random.default_rng(1).normal(size=(10, 10, 10, 3)).astype(np.float32)
    x[0, 0, 0], x[9, 9, 9] = 50, -50
    kept = Exact(10, coreset=True).init(KEY, jnp.asarray(x))
    assert {50.0, -50.0} <= set(np.asarray(kept)[:, 0].tolist())


def test_neighbourhoods_respect_the_size():
    assert Exact(20, neighbourhood=1).init(KEY, MAPS).shape == (2, 3, 4, 5)


def test_its_portable_form_is_the_same_field():
    """Without a loop, for converters to other formats."""
    bank = Exact().init(KEY, MAPS)
    for t in (0.05, 0.4, 1.0):
        found = [
            fn(bank, jnp.float32(t), MAPS[1]) for fn in (Exact().portable(), Exact().velocity_fn())
        ]
        np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-4)
    assert Exact(neighbourhood=1).portable() is None


def test_a_coreset_of_a_neighbourhood_is_refused():
    with fails("--coreset: does not go with --neighbourhood; leave one of them out"):
        Exact(coreset=True, neighbourhood=1)


def test_one_object_for_the_same_options():
    assert Exact(5).velocity_fn() is Exact(9).velocity_fn()
    assert Exact(neighbourhood=2).velocity_fn() is Exact(7, neighbourhood=2).velocity_fn()
