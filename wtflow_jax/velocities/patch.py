"""A velocity on single positions: a residual MLP that sees one feature vector, its time and place.

Written as 1×1 convolutions, so that it takes whole maps like any other velocity.
"""

from functools import lru_cache, partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from wtflow_jax.flow.types import Params, PRNGKey, Time, VelocityFn
from wtflow_jax.velocities.unet import DType, TimeEmbedding

Map = Float[Array, "h w c"]

BLOCKS = 3


class PatchNetwork(nn.Module):
    """The network for one map.

    Attributes:
        width: of the hidden layers, a multiple of 8.
        position: whether a vector learned for each position is added after the first layer.
        dtype: what is computed with; None is float32. Parameters, t and v are float32 in any case.
    """

    width: int
    position: bool = True
    dtype: DType = None

    @nn.compact
    def __call__(self, t: Time, x: Map) -> Map:
        """Return v(x, t) (h, w, c) for one feature map x (h, w, c) at a time t in [0, 1]."""
        dense = partial(nn.Dense, self.width, dtype=self.dtype)
        norm = partial(nn.LayerNorm, dtype=self.dtype)
        time = TimeEmbedding(self.width, self.dtype)(t)
        y = dense()(x)
        if self.position:
            place = self.param("position", nn.initializers.normal(1.0), y.shape)
            y = y + place.astype(y.dtype)
        for _ in range(BLOCKS):
            z = dense()(nn.silu(norm()(y))) + dense()(time)
            y = y + dense()(nn.silu(norm()(z)))
        # v = 0 at first, as in the U-Net.
        last = nn.Dense(x.shape[-1], kernel_init=nn.initializers.zeros, dtype=self.dtype)
        return last(y).astype(x.dtype)


@lru_cache
def velocity(width: int, position: bool = True, dtype: DType = None) -> VelocityFn:
    """Return the network as a ``velocity_fn(params, t, x) -> v``, the same object at each call.

    Args:
        width: of the hidden layers, a multiple of 8.
        position: whether to add the learned position vectors.
        dtype: what is computed with, ``jnp.bfloat16`` on accelerators; None is float32.
    """
    network = PatchNetwork(width, position, dtype)

    def velocity_fn(params: Params, t: Time, x: Map) -> Map:
        return network.apply(params, t, x)  # pyright: ignore[reportReturnType]

    return velocity_fn


def init(key: PRNGKey, shape: tuple[int, int, int], width: int, position: bool = True) -> Params:
    """Draw initial parameters, float32.

    Args:
        key: decides them.
        shape: (h, w, c) of one feature map.
        width: of the hidden layers, a multiple of 8.
        position: whether the network adds the learned position vectors.
    """
    return PatchNetwork(width, position).init(key, jnp.zeros(()), jnp.zeros(shape))
