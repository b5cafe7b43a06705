"""The paper's velocity network: a mini U-Net with two levels down and two up (Sec. III-D).

The paper gives the base width and two parameter counts; ``docs/method.md`` says how the rest
follows. For 1,024 channels the counts are 22.5, 87.3, 343.8 and 769.5 million parameters at widths
128, 256, 512 and 768.
"""

import math
from functools import lru_cache
from typing import TypeAlias

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from wtflow_jax.flow.types import Params, PRNGKey, Time, VelocityFn

Map = Float[Array, "h w c"]
Resized = Float[Array, "_ _ _"]
TimeVector = Float[Array, " width"]
DType: TypeAlias = DTypeLike | None


def sinusoid(position: Float[Array, "*n"], width: int) -> Float[Array, "*n width"]:
    """Return sines and cosines of ``position`` at ``width / 2`` frequencies from 1 down."""
    frequencies = jnp.asarray(10_000.0 ** -(np.arange(width // 2) / (width // 2)), jnp.float32)
    angle = position[..., None] * frequencies
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


def position_embedding(height: int, width: int, channels: int) -> Map:
    """Return a fixed 2-D embedding: half of the channels code the row, half the column."""
    rows = sinusoid(jnp.arange(height, dtype=jnp.float32), channels // 2)
    columns = sinusoid(jnp.arange(width, dtype=jnp.float32), channels // 2)
    shape = (height, width, channels // 2)
    return jnp.concatenate(
        [jnp.broadcast_to(rows[:, None], shape), jnp.broadcast_to(columns[None], shape)], axis=-1
    )


def _norm(width: int, dtype: DType) -> nn.GroupNorm:
    # One sample at a time: all three axes are the sample's own. Sums are float32 in any case.
    groups = math.gcd(width, 32) if width >= 128 else 8
    return nn.GroupNorm(num_groups=groups, reduction_axes=(-3, -2, -1), dtype=dtype)


def _conv(width: int, size: int, dtype: DType) -> nn.Conv:
    return nn.Conv(width, (size, size), padding=size // 2, dtype=dtype)


def _down(x: Map) -> Resized:
    return nn.avg_pool(x, (2, 2), (2, 2), padding="SAME", count_include_pad=False)


def _up(x: Map, like: Resized) -> Resized:
    x = jnp.repeat(jnp.repeat(x, 2, axis=0), 2, axis=1)
    return jnp.concatenate([x[: like.shape[0], : like.shape[1]], like], axis=-1)


class TimeEmbedding(nn.Module):
    """Sinusoidal features of width B/2 at 1000·t, then an MLP B/2 → 4B → B."""

    width: int
    dtype: DType = None

    @nn.compact
    def __call__(self, t: Time) -> TimeVector:
        """Embed a time t in [0, 1]."""
        x = sinusoid(1000 * t, self.width // 2)
        x = nn.silu(nn.Dense(4 * self.width, dtype=self.dtype)(x))
        return nn.Dense(self.width, dtype=self.dtype)(x)


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


class UNet(nn.Module):
    """The velocity network for one sample.

    Attributes:
        width: base width B, called NC in Table IV; a multiple of 8.
        position: whether a fixed position embedding is added after the first convolution.
        dtype: what is computed with; None is float32. Parameters, t and v are float32 in any case.
    """

    width: int
    position: bool = False
    dtype: DType = None

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
        # v = 0 at first: from a random last layer training is far slower (docs/method.md).
        last = nn.Conv(x.shape[-1], (1, 1), kernel_init=nn.initializers.zeros, dtype=self.dtype)
        return last(y).astype(x.dtype)


def velocity(width: int, position: bool = False, dtype: DType = None) -> VelocityFn:
    """Return the network as a ``velocity_fn(params, t, x) -> v``, the same object at each call.

    Args:
        width: base width B, a multiple of 8.
        position: whether to add the position embedding.
        dtype: what is computed with, ``jnp.bfloat16`` on accelerators; None is float32.
    """
    return _velocity(width, position, dtype)


@lru_cache
def _velocity(width: int, position: bool, dtype: DType) -> VelocityFn:
    network = UNet(width, position, dtype)

    def velocity_fn(params: Params, t: Time, x: Map) -> Map:
        return network.apply(params, t, x)  # pyright: ignore[reportReturnType]

    return velocity_fn


def init(key: PRNGKey, shape: tuple[int, int, int], width: int, position: bool = False) -> Params:
    """Draw initial parameters, float32.

    Args:
        key: decides them.
        shape: (h, w, c) of one feature map.
        width: base width B, a multiple of 8.
        position: whether the network adds the position embedding.
    """
    network = UNet(width, position)
    return network.init(key, jnp.zeros(()), jnp.zeros(shape))
