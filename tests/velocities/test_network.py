"""Shared code of networks: precision, the input norm, one function per set of options."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wtflow_jax.velocities import VELOCITIES
from wtflow_jax.velocities.network import matrices, remainders, restored, sinusoid
from wtflow_jax.velocities.patch import Patch

NETWORKS = [name for name in VELOCITIES if VELOCITIES.make(name).trained]
X0 = jnp.asarray(np.random.default_rng(0).normal(2, 3, (2, 4, 5, 6)), jnp.float32)
T = jnp.float32(0.4)


def drawn(part):
    """Parameters that are not zero in the last layer."""
    return jax.tree.map(lambda leaf: leaf + 0.1, jax.jit(part.init)(jax.random.key(0), X0))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_velocity_has_the_shape_of_its_map_and_is_zero_at_first(name):
    part = VELOCITIES.make(name, {"width": 8})
    params = jax.jit(part.init)(jax.random.key(0), X0)
    v = jax.jit(part.velocity_fn())(params, T, X0[0])
    assert (v.shape, v.dtype) == (X0[0].shape, jnp.float32)
    assert not v.any()


@pytest.mark.long
@pytest.mark.parametrize("name", NETWORKS)
def test_weights_rounded_once_are_those_rounded_at_each_call(name):
    part = VELOCITIES.make(name, {"width": 8, "precision": "bfloat16"})
    params = drawn(part)
    rounded = part.rounded(params)
    assert {leaf.dtype for leaf in jax.tree.leaves(rounded) if leaf.ndim > 1} == {
        jnp.dtype("bfloat16")
    }
    each, once = (jax.jit(part.velocity_fn())(p, T, X0[0]) for p in (params, rounded))
    assert each.dtype == jnp.float32
    np.testing.assert_array_equal(each, once)
    plain = replace(part, precision="float32").rounded(params)
    same = zip(*map(jax.tree.leaves, (plain, params)), strict=True)
    assert all(ours is given for ours, given in same)


def test_both_halves_of_a_float32_make_it_again():
    bits = np.random.default_rng(0).integers(0, 2**32, (1000, 200), np.uint64).astype(np.uint32)
    bits[0, :3] = 0x7F7FFFFF, 0x7F800000, 0x3F808000  # the largest, infinity, half a unit over 1
    given = {"kernel": jnp.asarray(bits.view(np.float32)), "bias": jnp.ones(3)}

    def again(params):
        rounded = matrices(params, "bfloat16")
        rest = remainders(params, rounded)
        return rounded["kernel"], rest, restored(rounded, rest)

    high, rest, found = jax.jit(again)(given)
    assert (high.dtype, rest["kernel"].dtype) == (jnp.bfloat16, jnp.int16)
    np.testing.assert_array_equal(found["bias"], given["bias"])
    given, found = (np.asarray(tree["kernel"]) for tree in (given, found))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(given))
    apart = (given.view(np.int32).astype(np.int64) - found.view(np.int32))[~np.isnan(given)]
    # Half a unit that was rounded down, to an even number, is short of one bit.
    tie = (bits & 0x1FFFF == 0x8000)[~np.isnan(given)]
    np.testing.assert_array_equal(apart, tie)
    assert tie.any()


def test_a_norm_in_front_of_the_network_is_no_wt_map():
    """It is shown LN(x), and answers for x: the data themselves stay where they are."""
    plain, normed = Patch(16), Patch(16, input_norm=True)
    assert normed.velocity_fn() is Patch(16, input_norm=True).velocity_fn()
    params, x = drawn(plain), X0[0]
    seen = (x - x.mean()) / jnp.sqrt(x.var() + 1e-5)
    found, expected = normed.velocity_fn()(params, T, x), plain.velocity_fn()(params, T, seen)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_sinusoid_has_frequencies_from_1_down():
    found = sinusoid(jnp.array([0.0, 3.0]), 8)
    np.testing.assert_allclose(found[0], [0, 0, 0, 0, 1, 1, 1, 1])
    np.testing.assert_allclose(found[1, [0, 4]], [np.sin(3), np.cos(3)], rtol=1e-6)
    np.testing.assert_allclose(found[1, 3], np.sin(3 / 1000), rtol=1e-5)
