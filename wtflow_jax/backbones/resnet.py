"""ResNet-18, ResNet-34 and Wide-ResNet-50-2 up to the third stage, as torchvision builds them.

He et al., arXiv 1512.03385; Zagoruyko and Komodakis, arXiv 1605.07146. In the bottleneck the
stride is on the 3×3 convolution (torchvision's v1.5). The strides of the stages are 4, 8 and 16;
padding is symmetric, so cell i of a stage is centred on pixel i·stride. Batch norm is folded into
the convolutions.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from wtflow_jax.backbones.network import BACKBONES, Grid, Map, Network, convolve
from wtflow_jax.backbones.weights import ConvReader, Download, State
from wtflow_jax.flow.types import Params


class Architecture(NamedTuple):
    """Blocks and output channels of stages 1 to 3; ``inner`` channels in a bottleneck's middle."""

    blocks: tuple[int, int, int]
    channels: tuple[int, int, int]
    inner: tuple[int, int, int] | None = None


ARCHITECTURES = {
    "resnet18": Architecture((2, 2, 2), (64, 128, 256)),
    "resnet34": Architecture((3, 4, 6), (64, 128, 256)),
    "wide_resnet50_2": Architecture((3, 4, 6), (256, 512, 1024), (128, 256, 512)),
}
DIGESTS = {
    "resnet18": "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
    "resnet34": "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f",
    # The file's name has the first digits; many projects record the others.
    "wide_resnet50_2": "95faca4d11227dddf8633dbb5ff6c8a9003c1aa5b8945c73834b8007b10950b8",
}
"""SHA-256 of torchvision's weights."""


def from_state(name: str, state: State, path: Path) -> Params:
    """Build the parameters from torchvision's names, without layer4 and fc; see ``Network``.

    Returns:
        ``stem``: a convolution; ``stages``: for each stage its blocks, each a dict of convolutions
        by name, see ``ConvReader``.
    """
    net = ARCHITECTURES[name]
    reader = ConvReader(name, state, path, eps=1e-5)
    stem = reader.conv("conv1", "bn1", (64, 3, 7, 7))
    stages, before = [], 64
    for stage in (1, 2, 3):
        after, blocks = net.channels[stage - 1], []
        for index in range(net.blocks[stage - 1]):
            shapes = {"conv1": (after, before, 3, 3), "conv2": (after, after, 3, 3)}
            if net.inner:
                inner = net.inner[stage - 1]
                shapes = {"conv1": (inner, before, 1, 1), "conv2": (inner, inner, 3, 3)}
                shapes["conv3"] = after, inner, 1, 1
            prefix = f"layer{stage}.{index}."
            block = {
                conv: reader.conv(f"{prefix}{conv}", f"{prefix}bn{conv[-1]}", shape)
                for conv, shape in shapes.items()
            }
            # If the shape changes, the shortcut is a convolution.
            if before != after:
                names = f"{prefix}downsample.0", f"{prefix}downsample.1"
                block["downsample"] = reader.conv(*names, (after, before, 1, 1))
            blocks.append(block)
            before = after
        stages.append(blocks)
    reader.finish(("conv1.", "bn1.", "layer1.", "layer2.", "layer3."))
    return {"stem": stem, "stages": stages}


def _halve(x: Map, axis: int) -> Map:
    """Return the maximum of three neighbours along an axis of even size, at stride 2, padded by 1.

    By slices, since ONNX Runtime does not accept a window over all four axes (export).
    """
    even, odd = (lax.slice_in_dim(x, i, None, 2, axis) for i in (0, 1))
    before = [lax.slice_in_dim(odd, 0, 1, axis=axis), lax.slice_in_dim(odd, 0, -1, axis=axis)]
    return jnp.maximum(jnp.maximum(even, odd), jnp.concatenate(before, axis))


def _block(block: Params, x: Map, stride: int) -> Map:
    shortcut = convolve(block["downsample"], x, stride) if "downsample" in block else x
    if "conv3" in block:
        y = jax.nn.relu(convolve(block["conv1"], x))
        y = convolve(block["conv3"], jax.nn.relu(convolve(block["conv2"], y, stride)))
    else:
        y = convolve(block["conv2"], jax.nn.relu(convolve(block["conv1"], x, stride)))
    return jax.nn.relu(y + shortcut)


def features(
    params: Params, images: Float[Array, "n h w 3"], *, layers: tuple[int, ...]
) -> tuple[Map, ...]:
    """Return the outputs of the stages ``layers``; see ``Network``."""
    x = jax.nn.relu(convolve(params["stem"], images, 2))
    x = _halve(_halve(x, 1), 2)
    maps = []
    for stage in range(1, max(layers) + 1):
        for index, block in enumerate(params["stages"][stage - 1]):
            x = _block(block, x, 2 if stage > 1 and index == 0 else 1)
        if stage in layers:
            maps.append(x)
    return tuple(maps)


_URL = "https://download.pytorch.org/models/{}-{}.pth"
for _name, _net in ARCHITECTURES.items():
    BACKBONES.add(_name)(
        Network(
            unit="layer",
            layers=range(1, 4),
            default=3,
            several=("layer1", "layer2", "layer3"),
            rectified=True,
            features=features,
            from_state=partial(from_state, _name),
            channels=lambda stage, channels=_net.channels: channels[stage - 1],
            grid=lambda stage: Grid(2 << stage, 0.0),
            official=Download(_URL.format(_name, DIGESTS[_name][:8]), DIGESTS[_name]),
        )
    )
