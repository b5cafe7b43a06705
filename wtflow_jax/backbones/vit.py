"""Vision transformers: patches of an image as tokens, and blocks of attention and an MLP.

Dosovitskiy et al., arXiv 2010.11929, as DINOv2 (arXiv 2304.07193) and DINOv3 (arXiv 2508.10104)
build them: norms before attention and MLP, LayerScale after each, register tokens (arXiv
2309.16588). Positions are learned on a grid and interpolated, or rotate queries and keys (RoPE,
arXiv 2104.09864). LayerScale and attention's 1/√d are folded into the linear layers.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from wtflow_jax.backbones.network import Grid, Map
from wtflow_jax.flow.types import Params

Tokens = Float[Array, "n t c"]
Table = Float[np.ndarray, "cells trained"]
HIGHEST = jax.lax.Precision.HIGHEST
"""Without it GPUs round to TF32, and features differ from device to device."""


class Architecture(NamedTuple):
    """The architecture of one vision transformer.

    Attributes:
        patch: side of a patch, in pixels.
        width: channels of a token.
        depth: number of blocks.
        heads: heads of attention.
        hidden: channels inside the MLP.
        registers: number of register tokens.
        gated: whether the MLP is SwiGLU, silu(gate)·up.
        eps: epsilon of the norms.
        trained: side of the grid of learned positions; 0 for rotary positions.
        offset: added to the cells per axis in the scale factor of position interpolation.
        antialias: whether interpolation of positions is antialiased.
    """

    patch: int
    width: int
    depth: int
    heads: int
    hidden: int
    registers: int = 0
    gated: bool = False
    eps: float = 1e-6
    trained: int = 0
    offset: float = 0.0
    antialias: bool = False

    @property
    def head(self) -> int:
        """Channels of a head."""
        return self.width // self.heads

    def grid(self, block: int) -> Grid:
        """Return the grid of a block: cell i is patch i, with its centre at p·i + (p − 1)/2."""
        return Grid(self.patch, (self.patch - 1) / 2)


def bicubic(cells: int, trained: int, offset: float = 0.0, antialias: bool = False) -> Table:
    """Return the matrix of torch's bicubic interpolation from ``trained`` points to ``cells``.

    Args:
        cells: number of cells along an axis.
        trained: number of points along it.
        offset: the factor is (cells + offset) / trained, as DINOv2 calls ``interpolate``.
        antialias: a = −0.5, and a factor below 1 widens the kernel; without it a = −0.75.
    """
    step, a = trained / (cells + offset), -0.5 if antialias else -0.75
    wide = max(step, 1.0) if antialias else 1.0
    centres = step * (np.arange(cells) + 0.5) - 0.5
    first = np.floor(centres - 2 * wide).astype(int)
    points = first[:, None] + np.arange(int(np.ceil(4 * wide)) + 2)
    x = np.abs(points - centres[:, None]) / wide
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    weights = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
    if antialias:
        # Points beyond the edge have weight 0; without antialias the outermost point repeats.
        weights = np.where((points >= 0) & (points < trained), weights, 0.0)
        weights /= weights.sum(axis=1, keepdims=True)
    table = np.zeros((cells, trained))
    rows = np.broadcast_to(np.arange(cells)[:, None], points.shape)
    np.add.at(table, (rows, np.clip(points, 0, trained - 1)), weights)
    return table.astype(np.float32)


def _stretched(net: Architecture, positions: Array, h: int, w: int) -> Array:
    """Return the positions of h × w cells, (h, w, c)."""
    # As in DINOv2: the trained grid itself is not interpolated, whatever the offset.
    if (h, w) == (net.trained, net.trained):
        return positions
    rows, columns = (bicubic(n, net.trained, net.offset, net.antialias) for n in (h, w))
    return jnp.einsum("Hh,hwc,Ww->HWc", rows, positions, columns, precision=HIGHEST)


def _angles(periods: Array, h: int, w: int) -> Array:
    """Return RoPE's angles of h × w cells, (h·w, d): rows and columns in [−1, 1], twice."""
    axes = [(2 * np.arange(n, dtype=np.float32) + 1) / n - 1 for n in (h, w)]
    cells = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(h * w, 2, 1)
    half = (2 * np.pi * cells / periods).reshape(h * w, -1)
    return jnp.tile(half, 2)


def _rotations(net: Architecture, params: Params, h: int, w: int) -> tuple[Array, Array] | None:
    """Return cosines and sines of all tokens, (t, d), which rotate only the patch tokens."""
    if net.trained:
        return None
    angles = jnp.pad(_angles(params["periods"], h, w), ((1 + net.registers, 0), (0, 0)))
    return jnp.cos(angles), jnp.sin(angles)


def _rotated(x: Array, turn: tuple[Array, Array]) -> Array:
    cos, sin = turn
    first, second = jnp.split(x, 2, axis=-1)
    return x * cos + jnp.concatenate([-second, first], axis=-1) * sin


def _linear(layer: Params, x: Array) -> Array:
    return jnp.matmul(x, layer["weight"], precision=HIGHEST) + layer["bias"]


def _norm(layer: Params, x: Array, eps: float) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + eps)
    return centred * scale * layer["weight"] + layer["bias"]


def attend(q: Array, k: Array, v: Array) -> Array:
    """Return softmax(q·k)·v of (..., t, d), all at once."""
    weights = jnp.matmul(q, jnp.swapaxes(k, -1, -2), precision=HIGHEST)
    return jnp.matmul(jax.nn.softmax(weights, axis=-1), v, precision=HIGHEST)


def _in_turn(q: Array, k: Array, v: Array) -> Array:
    """Return ``attend`` of (n, h, t, d) in parts, because t² weights per head are large.

    On a CPU one head at a time, whose weights stay in the cache: half the time. Elsewhere one
    image at a time.
    """
    shape = q.shape

    def by_head(*each: Array) -> Array:
        flat = tuple(x.reshape(-1, *shape[2:]) for x in each)
        return jax.lax.map(lambda one: attend(*one), flat).reshape(shape)

    def by_image(*each: Array) -> Array:
        return jax.lax.map(lambda one: attend(*one), each)

    return jax.lax.platform_dependent(q, k, v, cpu=by_head, default=by_image)


Attend = Callable[[Array, Array, Array], Array]


def _attention(
    net: Architecture, block: Params, x: Tokens, turn: tuple[Array, Array] | None, attend: Attend
) -> Tokens:
    n, t, _ = x.shape
    qkv = _linear(block["qkv"], x).reshape(n, t, 3, net.heads, net.head)
    q, k, v = qkv.transpose(2, 0, 3, 1, 4)
    if turn is not None:
        q, k = _rotated(q, turn), _rotated(k, turn)
    mixed = attend(q, k, v).transpose(0, 2, 1, 3).reshape(n, t, net.width)
    return _linear(block["project"], mixed)


def _mlp(net: Architecture, block: Params, x: Tokens) -> Tokens:
    up = _linear(block["up"], x)
    if net.gated:
        return _linear(block["down"], jax.nn.silu(_linear(block["gate"], x)) * up)
    return _linear(block["down"], jax.nn.gelu(up, approximate=False))


def _tokens(
    net: Architecture, params: Params, images: Float[Array, "n h w 3"]
) -> tuple[Tokens, int, int]:
    """Return class token, registers and patches of images, and the cells along either axis."""
    n, height, width, _ = images.shape
    p, h, w = net.patch, height // net.patch, width // net.patch
    patches = images.reshape(n, h, p, w, p, 3).transpose(0, 1, 3, 2, 4, 5)
    x = _linear(params["patch"], patches.reshape(n, h * w, 3 * p * p))
    if net.trained:
        x = x + _stretched(net, params["positions"], h, w).reshape(h * w, -1)
    prefix = jnp.broadcast_to(params["prefix"], (n, 1 + net.registers, net.width))
    return jnp.concatenate([prefix, x], axis=1), h, w


def features(
    params: Params,
    images: Float[Array, "n h w 3"],
    *,
    layers: tuple[int, ...],
    net: Architecture,
    attend: Attend = _in_turn,
) -> tuple[Map, ...]:
    """Return the patch tokens of the blocks ``layers`` after the final norm; see ``Network``.

    Every block's output gets the norm of the last block, as in DINOv2's
    ``get_intermediate_layers``. ``attend`` computes attention: in parts, or all at once with the
    function ``attend``.
    """
    x, h, w = _tokens(net, params, images)
    turn, maps = _rotations(net, params, h, w), []
    for index, block in enumerate(params["blocks"][: max(layers) + 1]):
        x = x + _attention(net, block, _norm(block["norm1"], x, net.eps), turn, attend)
        x = x + _mlp(net, block, _norm(block["norm2"], x, net.eps))
        if index in layers:
            patches = _norm(params["norm"], x[:, 1 + net.registers :], net.eps)
            maps.append(patches.reshape(-1, h, w, net.width))
    return tuple(maps)
