"""The network on single positions."""

import jax
import jax.numpy as jnp
import numpy as np

from wtflow_jax.velocities.patch import Patch

MAPS = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3, 4, 5)), jnp.float32)
T = jnp.float32(0.4)


def test_it_sees_one_position():
    part = Patch(16)
    # Its last layer starts at zero.
    params = jax.tree.map(lambda leaf: leaf + 0.1, part.init(jax.random.key(0), MAPS))
    v = part.velocity_fn()(params, T, MAPS[0])
    changed = part.velocity_fn()(params, T, MAPS[0].at[1, 2].add(1.0))
    different = np.any(np.asarray(v != changed), axis=-1)
    assert different[1, 2]
    assert different.sum() == 1


def test_it_knows_its_place_unless_told_otherwise():
    x = jnp.ones((3, 4, 5))
    for position in (True, False):
        part = Patch(16, position)
        params = jax.tree.map(lambda leaf: leaf + 0.1, part.init(jax.random.key(0), MAPS))
        v = part.velocity_fn()(params, T, x)
        assert bool((v == v[0, 0]).all()) == (not position)
