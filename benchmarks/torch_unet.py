"""The U-Net of ``wtflow_jax.velocities.unet`` in torch, for benchmarks and tests."""

import math
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sinusoid(position: Tensor, width: int) -> Tensor:
    """Return sines and cosines (n, width) of ``position`` (n,) at ``width / 2`` frequencies."""
    half = width // 2
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half, device=position.device) / half)
    angle = position[:, None] * frequencies
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with group norm and SiLU; the time is added after the first."""

    def __init__(self, before: int, width: int, time: int) -> None:
        """Build a block from ``before`` to ``width`` channels, with ``time`` numbers of time."""
        super().__init__()
        groups = math.gcd(width, 32) if width >= 128 else 8
        self.conv1 = nn.Conv2d(before, width, 3, padding=1)
        self.time = nn.Linear(time, width)
        self.norm1 = nn.GroupNorm(groups, width, eps=1e-6)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, width, eps=1e-6)
        self.shortcut = nn.Conv2d(before, width, 1) if before != width else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map (n, before, h, w) to (n, width, h, w)."""
        y = F.silu(self.norm1(self.conv1(x) + self.time(time)[:, :, None, None]))
        return F.silu(self.norm2(self.conv2(y))) + self.shortcut(x)


class UNet(nn.Module):
    """The velocity network on batches, channels first, without position embedding."""

    def __init__(self, channels: int, width: int) -> None:
        """Build a network for maps of ``channels`` channels."""
        super().__init__()
        b = width
        self.width = width
        self.mlp = nn.Sequential(nn.Linear(b // 2, 4 * b), nn.SiLU(), nn.Linear(4 * b, b))
        self.first = nn.Conv2d(channels, b, 3, padding=1)
        widths = [(b, 2 * b), (2 * b, 2 * b), (2 * b, 4 * b), (4 * b, 4 * b), (4 * b, 4 * b)]
        widths += [(8 * b, 2 * b), (2 * b, 2 * b), (4 * b, b), (b, b)]
        self.blocks = nn.ModuleList([ResidualBlock(*pair, time=b) for pair in widths])
        self.last = nn.Conv2d(b, channels, 1)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Return v (n, c, h, w) for maps x (n, c, h, w) at times t (n,)."""
        time = self.mlp(sinusoid(1000 * t, self.width // 2))
        skip1 = self.blocks[1](self.blocks[0](self.first(x), time), time)
        skip2 = self.blocks[3](self.blocks[2](F.avg_pool2d(skip1, 2), time), time)
        y = self.blocks[4](F.avg_pool2d(skip2, 2), time)
        y = torch.cat([F.interpolate(y, scale_factor=2, mode="nearest"), skip2], dim=1)
        y = self.blocks[6](self.blocks[5](y, time), time)
        y = torch.cat([F.interpolate(y, scale_factor=2, mode="nearest"), skip1], dim=1)
        return self.last(self.blocks[8](self.blocks[7](y, time), time))

    def load_flax(self, params: dict) -> "UNet":
        """Copy the parameters of the Flax network and return self."""
        tree = params["params"]

        def copy(module: Any, leaf: dict) -> None:
            kernel = np.asarray(leaf["scale"] if "scale" in leaf else leaf["kernel"])
            order = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[kernel.ndim]
            with torch.no_grad():
                module.weight.copy_(torch.from_numpy(kernel.transpose(order).copy()))
                module.bias.copy_(torch.from_numpy(np.array(leaf["bias"])))

        copy(self.first, tree["Conv_0"])
        copy(self.last, tree["Conv_1"])
        copy(self.mlp[0], tree["TimeEmbedding_0"]["Dense_0"])
        copy(self.mlp[2], tree["TimeEmbedding_0"]["Dense_1"])
        for i, module in enumerate(self.blocks):
            block = cast(ResidualBlock, module)
            leaf = tree[f"ResidualBlock_{i}"]
            copy(block.conv1, leaf["Conv_0"])
            copy(block.time, leaf["Dense_0"])
            copy(block.norm1, leaf["GroupNorm_0"])
            copy(block.conv2, leaf["Conv_1"])
            copy(block.norm2, leaf["GroupNorm_1"])
            if "Conv_2" in leaf:
                copy(block.shortcut, leaf["Conv_2"])
        return self
