"""The U-Net: the paper's parameter counts, the same numbers as in torch, and its inputs."""

import math
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wtflow_jax.velocities.unet import UNet, position_embedding

KEY = jax.random.key(0)


def sized(*shape):
    """Training maps of a shape; a network needs only the shape."""
    return jax.ShapeDtypeStruct((1, *shape), jnp.float32)


@pytest.mark.parametrize(
    ("width", "millions"), [(128, 22.5), (256, 87.3), (512, 343.8), (768, 769.5)]
)
def test_parameter_counts_are_the_papers(width, millions):
    shapes = jax.eval_shape(UNet(width).init, KEY, sized(16, 16, 1024))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert round(count / 1e6, 1) == millions


def random_params(shape, width):
    """Every leaf random: a bias or scale at its initial value would hide a swap."""
    shapes = jax.eval_shape(UNet(width).init, KEY, sized(*shape))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        spread = 0.3 if leaf.ndim == 1 else np.sqrt(1 / np.prod(leaf.shape[:-1]))
        centre = 1.0 if path[-1].key == "scale" else 0.0
        return jnp.asarray(centre + spread * rng.normal(size=leaf.shape), jnp.float32)

    return jax.tree.map_with_path(draw, shapes)


@lru_cache
def jitted(width, position=False):
    velocity_fn = UNet(width, position).velocity_fn()
    return jax.jit(jax.vmap(velocity_fn, in_axes=(None, 0, 0)))


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 128])
def test_agrees_with_torch(width):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra dev)")
    from torch_unet import UNet

    params = random_params((8, 12, 5), width)
    x = np.random.default_rng(0).normal(size=(2, 8, 12, 5)).astype(np.float32)
    t = np.array([0.13, 0.9], np.float32)
    ours = jitted(width)(params, t, x)
    with torch.no_grad():
        peer = UNet(5, width).load_flax(params)
        theirs = peer(torch.from_numpy(t), torch.from_numpy(x.transpose(0, 3, 1, 2)))
    expected = theirs.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(ours, expected, atol=2e-4 * np.abs(expected).max())


def test_a_sample_does_not_see_its_batch():
    params = random_params((8, 8, 3), 16)
    x = jax.random.normal(KEY, (4, 8, 8, 3))
    t = jnp.full(4, 0.4)
    together = jitted(16)(params, t, x)
    np.testing.assert_allclose(together[2], jitted(16)(params, t[:1], x[2:3])[0], atol=1e-5)


def test_time_and_place_matter():
    params = random_params((8, 8, 3), 16)
    x = jnp.ones((2, 8, 8, 3))
    t = jnp.array([0.1, 0.9])
    early, late = jitted(16)(params, t, x)
    assert float(jnp.abs(early - late).max()) > 1e-3
    placed = jitted(16, position=True)(params, t, x)
    assert float(jnp.abs(placed[0] - early).max()) > 1e-3


def test_position_embedding_tells_rows_from_columns():
    embedding = position_embedding(3, 5, 16)
    assert embedding.shape == (3, 5, 16)
    np.testing.assert_array_equal(embedding[1, 0, :8], embedding[1, 4, :8])
    np.testing.assert_array_equal(embedding[0, 3, 8:], embedding[2, 3, 8:])
    np.testing.assert_allclose(embedding[2, 0, 0], np.sin(2), rtol=1e-6)
    assert len(np.unique(np.asarray(embedding).reshape(15, 16), axis=0)) == 15


@pytest.mark.parametrize("shape", [(5, 7, 6), (2, 1, 6)])
def test_maps_of_any_size(shape):
    v = jitted(8)(random_params(shape, 8), jnp.ones(1), jnp.ones((1, *shape)))
    assert v.shape == (1, *shape)
    assert bool(jnp.isfinite(v).all())


def test_velocity_is_one_object_per_network():
    assert UNet(16).velocity_fn() is UNet(width=16, position=False).velocity_fn()
    assert UNet(16).velocity_fn() is not UNet(16, position=True).velocity_fn()
