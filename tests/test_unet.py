import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wtflow_jax import unet

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("width", "millions"), [(128, 22.5), (256, 87.3), (512, 343.8), (768, 769.5)]
)
def test_parameter_counts_are_the_papers(width, millions):
    shapes = jax.eval_shape(lambda: unet.init(KEY, (16, 16, 1024), width))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert round(count / 1e6, 1) == millions


def random_params(shape, width):
    """Every leaf random: a bias or scale at its initial value would hide a swap."""
    params = unet.init(KEY, shape, width)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(KEY, len(leaves))
    noisy = [x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, noisy)


@pytest.mark.parametrize("width", [16, 128])
def test_agrees_with_torch(width):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra dev)")
    from torch_unet import UNet

    params = random_params((8, 12, 5), width)
    x = np.random.default_rng(0).normal(size=(2, 8, 12, 5)).astype(np.float32)
    t = np.array([0.13, 0.9], np.float32)
    ours = jax.vmap(unet.velocity(width), in_axes=(None, 0, 0))(params, t, x)
    with torch.no_grad():
        peer = UNet(5, width).load_flax(params)
        theirs = peer(torch.from_numpy(t), torch.from_numpy(x.transpose(0, 3, 1, 2)))
    expected = theirs.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(ours, expected, atol=2e-4 * np.abs(expected).max())


def test_a_sample_does_not_see_its_batch():
    params = random_params((8, 8, 3), 16)
    x = jax.random.normal(KEY, (4, 8, 8, 3))
    velocity_fn = unet.velocity(16)
    t = jnp.float32(0.4)
    together = jax.vmap(velocity_fn, in_axes=(None, None, 0))(params, t, x)
    np.testing.assert_allclose(together[2], velocity_fn(params, t, x[2]), atol=1e-5)


def test_time_and_place_matter():
    params = random_params((8, 8, 3), 16)
    x = jnp.ones((8, 8, 3))
    early, late = (unet.velocity(16)(params, jnp.float32(t), x) for t in (0.1, 0.9))
    assert float(jnp.abs(early - late).max()) > 1e-3
    placed = unet.velocity(16, position=True)(params, jnp.float32(0.1), x)
    assert float(jnp.abs(placed - early).max()) > 1e-3


def test_position_embedding_tells_rows_from_columns():
    embedding = unet.position_embedding(3, 5, 16)
    assert embedding.shape == (3, 5, 16)
    np.testing.assert_array_equal(embedding[1, 0, :8], embedding[1, 4, :8])
    np.testing.assert_array_equal(embedding[0, 3, 8:], embedding[2, 3, 8:])
    np.testing.assert_allclose(embedding[2, 0, 0], np.sin(2), rtol=1e-6)
    assert len(np.unique(np.asarray(embedding).reshape(15, 16), axis=0)) == 15


@pytest.mark.parametrize("shape", [(4, 4, 6), (5, 7, 6), (2, 1, 6)])
def test_maps_of_any_size(shape):
    params = unet.init(KEY, shape, 16)
    v = unet.velocity(16)(params, jnp.float32(0.5), jnp.ones(shape))
    assert v.shape == shape
    assert bool(jnp.isfinite(v).all())


def test_velocity_is_one_object_per_network():
    assert unet.velocity(16) is unet.velocity(16)
    assert unet.velocity(16) is not unet.velocity(16, position=True)
