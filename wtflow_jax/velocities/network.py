"""Common code of velocity networks: options, and a Flax module as a ``velocity_fn``."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from wtflow_jax.flow.maps.norms import LayerNorm
from wtflow_jax.flow.types import Params, PRNGKey, Time, VelocityFn
from wtflow_jax.support.kernels import laid_out
from wtflow_jax.velocities import Shaped, Velocity

Map = Float[Array, "h w c"]
TimeVector = Float[Array, " width"]
DType: TypeAlias = DTypeLike | None


@dataclass(frozen=True)
class Network(Velocity):
    """Options of every network."""

    width: int = 32
    """Width of the network, NC in Table IV; a multiple of 8."""
    position: bool = False
    """Add a position embedding after the network's first layer."""
    input_norm: bool = False
    """Give the network LN(x_t) in place of x_t: a norm layer, not a WT map (Table XI: std)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of computation; on NVIDIA GPUs float32 is TF32, with a mantissa of ten bits.
    Weights and optimizer state are always float32."""

    RANGES: ClassVar = {"width": (8, None)}
    MULTIPLES: ClassVar = {"width": 8}
    MODULE: ClassVar[Any]
    """``MODULE(width, position, dtype)`` is the Flax module: ``apply(params, t, x) -> v``."""

    def velocity_fn(self) -> VelocityFn:
        """Return the network as a function; the same object for the same options."""
        return _velocity_fn(self)

    def init(self, key: PRNGKey, x0: Shaped) -> Params:
        """Draw initial parameters, float32, for maps of the shape of x0."""
        module = self.MODULE(self.width, self.position)
        return module.init(key, jnp.zeros(()), jnp.zeros(x0.shape[1:]))

    def rounded(self, params: Params) -> Params:
        """Return matrices in the precision and layout of computation, once for all calls."""
        rounded = matrices(params, self.precision)
        return laid_out(with_matrices(params, rounded), self.precision)


def matrices(params: Params, precision: str) -> Params:
    """Return matrices and kernels in a precision, and None for parameters that are not rounded."""
    if precision == "float32":
        return jax.tree.map(lambda _: None, params)
    return jax.tree.map(lambda a: a.astype(precision) if a.ndim > 1 else None, params)


def with_matrices(params: Params, rounded: Params) -> Params:
    """Return parameters, with the rounded arrays of ``matrices`` in place of the originals."""
    is_leaf = lambda a: a is None  # noqa: E731
    return jax.tree.map(lambda a, p: p if a is None else a, rounded, params, is_leaf=is_leaf)


def remainders(params: Params, rounded: Params) -> Params:
    """Return the bits that ``matrices`` rounded off, int16; unrounded parameters unchanged.

    A float32 has 16 bits more than a bfloat16. The network reads only the rounded half, AdamW
    reads both. ``restored`` is exact except for one parameter in 131,072, which is off by one unit
    of float32: there the rest is half a unit of bfloat16 and was rounded down.
    """

    def of(a: Array, p: Array | None) -> Array:
        if p is None:
            return a
        rest = jax.lax.bitcast_convert_type(a, jnp.int32) - _high(p)
        return jnp.minimum(rest, jnp.iinfo(jnp.int16).max).astype(jnp.int16)

    return jax.tree.map(of, params, rounded)


def restored(rounded: Params, rest: Params) -> Params:
    """Return the float32 parameters of ``matrices`` and ``remainders``."""

    def of(p: Array | None, a: Array) -> Array:
        if p is None:
            return a
        return jax.lax.bitcast_convert_type(_high(p) + a.astype(jnp.int32), jnp.float32)

    return jax.tree.map(of, rounded, rest, is_leaf=lambda a: a is None)


def _high(rounded: Array) -> Array:
    return jax.lax.bitcast_convert_type(rounded, jnp.int16).astype(jnp.int32) << 16


@lru_cache
def _velocity_fn(network: Network) -> VelocityFn:
    dtype = None if network.precision == "float32" else jnp.dtype(network.precision)
    module = network.MODULE(network.width, network.position, dtype)

    def velocity_fn(params: Params, t: Time, x: Map) -> Map:
        if network.input_norm:
            x = LayerNorm().apply((), x[None])[0]
        return module.apply(params, t, x)  # pyright: ignore[reportReturnType]

    return velocity_fn


def sinusoid(position: Float[Array, "*n"], width: int) -> Float[Array, "*n width"]:
    """Return sines and cosines of ``position`` at ``width / 2`` frequencies from 1 down."""
    frequencies = jnp.asarray(10_000.0 ** -(np.arange(width // 2) / (width // 2)), jnp.float32)
    angle = position[..., None] * frequencies
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


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
