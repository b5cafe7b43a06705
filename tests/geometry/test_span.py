"""The space of a narrow network's velocities, and fields that are confined to one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wtflow_jax.flow import ode
from wtflow_jax.geometry import span
from wtflow_jax.velocities.unet import UNet

RNG = np.random.default_rng(0)


def affine(n, c, r):
    return (RNG.normal(size=(n, r)) @ RNG.normal(size=(r, c)) + RNG.normal(size=c)).astype(
        "float32"
    )


def test_it_is_found():
    vectors = affine(200, 7, 3)
    found = span.principal(vectors)
    assert found.axes.shape == (3, 7)
    np.testing.assert_allclose(found.axes @ found.axes.T, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(span.within(found, vectors), vectors, atol=1e-5)
    whole = span.principal(RNG.normal(size=(200, 7)))
    assert whole.axes.shape == (7, 7)


def test_the_best_of_some_dimensions():
    """The nearest to vectors: no other leaves a smaller error."""
    vectors = RNG.normal(size=(500, 6)) * np.array([3, 2, 1, 0.5, 0.2, 0.1])
    found = span.principal(vectors, 2)
    np.testing.assert_allclose(np.abs(found.axes), np.eye(6)[[1, 0]], atol=0.1)


@pytest.mark.long
def test_a_network_moves_x0_within_its_width():
    """Its last layer has 8 channels: so many dimensions at each cell, whatever the solver."""
    unet, x0 = UNet(width=8), jnp.asarray(RNG.normal(size=(3, 8, 8, 12)), jnp.float32)
    params = unet.init(jax.random.key(0), x0)
    # The last layer begins with zeros.
    params = jax.tree.map(lambda p: p + 0.1 * RNG.normal(size=p.shape).astype("float32"), params)
    fn = unet.velocity_fn()
    v = jnp.stack(
        [jax.vmap(lambda x, t=t: fn(params, t, x))(x0) for t in jnp.asarray([0.0, 0.3, 0.9])]
    )
    found = span.principal(np.asarray(v))
    assert found.axes.shape == (8, 12)
    for solver, steps in (("euler", 1), ("heun", 3)):
        moved = ode.push_forward(fn, params, x0, steps=steps, solver=solver) - x0
        np.testing.assert_allclose(span.within(found, moved), moved, atol=1e-3)


def linear(params, t, x):
    return params["a"] @ x + t


def test_a_confined_field():
    space = span.principal(affine(50, 5, 2))
    params = {"a": jnp.asarray(RNG.normal(size=(5, 5)), jnp.float32)}
    x, t = jnp.asarray(RNG.normal(size=5), jnp.float32), jnp.float32(0.3)
    field = span.confined(linear)
    assert field is span.confined(linear)
    found = field((space, params), t, x)
    np.testing.assert_allclose(span.within(space, found), found, atol=1e-5)
    rest = linear(params, t, x) - found
    np.testing.assert_allclose(space.axes @ rest, 0, atol=1e-5)
