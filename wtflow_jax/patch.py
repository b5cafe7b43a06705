"""A velocity on single positions: a residual MLP that sees one feature vector, its time and place.

Written as 1×1 convolutions, so that it takes whole maps like any other velocity.
"""

from functools import lru_cache

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from wtflow_jax.types import Params, PRNGKey, Time, VelocityFn
from wtflow_jax.unet import TimeEmbedding

Map = Float[Array, "h w c"]

BLOCKS = 3


class PatchNetwork(nn.Module):
    """The network for one map.

    Attributes:
        width: of the hidden layers, a multiple of 8.
        position: whether a vector learned for each position is added after the first layer.
    """

    width: int
    position: bool = True

    @nn.compact
    def __call__(self, t: Time, x: Map) -> Map:
        """Return v(x, t) (h, w, c) for one feature map x (h, w, c) at a time t in [0, 1]."""
        time = TimeEmbedding(self.width)(t)
        y = nn.Dense(self.width)(x)
        if self.position:
            y = y + self.param("position", nn.initializers.normal(1.0), y.shape)
        for _ in range(BLOCKS):
            z = nn.Dense(self.width)(nn.silu(nn.LayerNorm()(y))) + nn.Dense(self.width)(time)
            y = y + nn.Dense(self.width)(nn.silu(nn.LayerNorm()(z)))
        # v = 0 at first, as in the U-Net.
        return nn.Dense(x.shape[-1], kernel_init=nn.initializers.zeros)(y)


@lru_cache
def velocity(width: int, position: bool = True) -> VelocityFn:
    """Return the network as a ``velocity_fn(params, t, x) -> v``, the same object at each call.

    Args:
        width: of the hidden layers, a multiple of 8.
        position: whether to add the learned position vectors.
    """
    network = PatchNetwork(width, position)

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
