"""The paper's velocity network: a mini U-Net with two levels down and two up (Sec. III-D).

The paper gives the base width and two parameter counts; ``docs/method.md`` says how the rest
follows. For 1,024 channels the counts are 22.5, 87.3, 343.8 and 769.5 million parameters at widths
128, 256, 512 and 768.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from wtflow_jax.flow.types import Time
from wtflow_jax.velocities import VELOCITIES
from wtflow_jax.velocities.network import DType, Map, Network, TimeEmbedding, TimeVector, sinusoid

Resized = Float[Array, "_ _ _"]


def position_embedding(height: int, width: int, channels: int) -> Map:
    """Return a fixed 2-D embedding: half of the channels encode the row, half the column."""
    places = jnp.meshgrid(jnp.arange(1.0 * height), jnp.arange(1.0 * width), indexing="ij")
    return jnp.concatenate([sinusoid(place, channels // 2) for place in places], axis=-1)


def _norm(width: int, dtype: DType) -> nn.GroupNorm:
    # All three axes belong to one sample. Sums are always float32.
    groups = math.gcd(width, 32) if width >= 128 else 8
    return nn.GroupNorm(num_groups=groups, reduction_axes=(-3, -2, -1), dtype=dtype)


def _conv(width: int, size: int, dtype: DType) -> nn.Conv:
    return nn.Conv(width, (size, size), padding=size // 2, dtype=dtype)


def _down(x: Map) -> Resized:
    return nn.avg_pool(x, (2, 2), (2, 2), padding="SAME", count_include_pad=False)


def _up(x: Map, like: Resized) -> Resized:
    x = jnp.repeat(jnp.repeat(x, 2, axis=0), 2, axis=1)
    return jnp.concatenate([x[: like.shape[0], : like.shape[1]], like], axis=-1)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, each followed by group norm and SiLU; time enters after the first."""

    width: int
    dtype: DType = None

    @nn.compact
    def __call__(self, x: Map, time: TimeVector) -> Resized:
        """Map (h, w, c) to (h, w, width)."""
        width, dtype = self.width, self.dtype
        y = _conv(width, 3, dtype)(x) + nn.Dense(width, dtype=dtype)(time)
        y = nn.silu(_norm(width, dtype)(y))
        y = _conv(width, 3, dtype)(y)
        y = nn.silu(_norm(width, dtype)(y))
        return y + (x if x.shape[-1] == width else _conv(width, 1, dtype)(x))


class UNetModule(nn.Module):
    """The velocity network for one sample; parameters, t and v are always float32."""

    width: int  #: base width B, called NC in Table IV; a multiple of 8
    position: bool = False  #: add a fixed position embedding after the first convolution
    dtype: DType = None  #: dtype of computation; None is float32

    @nn.compact
    def __call__(self, t: Time, x: Map) -> Map:
        """Return v(x, t) (h, w, c) for one feature map x (h, w, c) at a time t in [0, 1]."""
        b = self.width
        time = TimeEmbedding(b, self.dtype)(t)

        def blocks(y: Map, *widths: int) -> Resized:
            for width in widths:
                y = ResidualBlock(width, self.dtype)(y, time)
            return y

        y = _conv(b, 3, self.dtype)(x)
        if self.position:
            y = y + position_embedding(*y.shape).astype(y.dtype)
        skip1 = blocks(y, 2 * b, 2 * b)
        skip2 = blocks(_down(skip1), 4 * b, 4 * b)
        y = blocks(_down(skip2), 4 * b)
        y = blocks(_up(y, skip2), 2 * b, 2 * b)
        y = blocks(_up(y, skip1), b, b)
        # Initially v = 0: with a random last layer training is far slower (docs/method.md).
        last = nn.Conv(x.shape[-1], (1, 1), kernel_init=nn.initializers.zeros, dtype=self.dtype)
        return last(y).astype(x.dtype)


@VELOCITIES.add("unet")
@dataclass(frozen=True)
class UNet(Network):
    """The paper's network."""

    MODULE: ClassVar = UNetModule
