"""ResNets in torch with batch norm and torchvision's tensor names: the reference for parity.

Written from the papers and the names in the published files, with ``nn.BatchNorm2d`` left where it
is, so that nothing of the library's folding, padding or layout is shared.
"""

import torch
from torch import nn


def _conv_norm(before: int, after: int, size: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(before, after, size, stride=stride, padding=(size - 1) // 2, bias=False)
    return [conv, nn.BatchNorm2d(after)]


class Basic(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv_norm(before, width, 3, stride)
        self.conv2, self.bn2 = _conv_norm(width, width, 3)
        self.downsample = None
        if stride != 1 or before != width:
            self.downsample = nn.Sequential(*_conv_norm(before, width, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + shortcut)


class WideBottleneck(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv_norm(before, 2 * width, 1)
        self.conv2, self.bn2 = _conv_norm(2 * width, 2 * width, 3, stride)
        self.conv3, self.bn3 = _conv_norm(2 * width, 4 * width, 1)
        self.downsample = None
        if stride != 1 or before != 4 * width:
            self.downsample = nn.Sequential(*_conv_norm(before, 4 * width, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + shortcut)


KINDS = {
    "resnet18": (Basic, 1, (2, 2, 2)),
    "resnet34": (Basic, 1, (3, 4, 6)),
    "wide_resnet50_2": (WideBottleneck, 4, (3, 4, 6)),
}


class ResNet(nn.Module):
    """conv1 to layer3, optionally with a small layer4 and fc that a reader must ignore."""

    def __init__(self, name: str, head: bool = False) -> None:
        super().__init__()
        block, expansion, counts = KINDS[name]
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        before = 64
        for stage, count in enumerate(counts, start=1):
            width = 32 * 2**stage
            blocks = []
            for index in range(count):
                blocks.append(block(before, width, 2 if stage > 1 and index == 0 else 1))
                before = expansion * width
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        if head:
            self.layer4 = nn.Sequential(nn.Conv2d(before, 8, 1, bias=False))
            self.fc = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps (n, c, h, w) of layer1, layer2 and layer3."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3):
            x = stage(x)
            maps.append(x)
        return maps


def random_resnet(name: str, seed: int, head: bool = False) -> ResNet:
    """Return a network in eval mode whose batch norms have statistics far from 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    net = ResNet(name, head).eval()

    def uniform(like: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return torch.rand(like.shape, generator=generator) * (high - low) + low

    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.copy_(uniform(module.weight, 0.5, 1.5))
                module.bias.copy_(uniform(module.bias, -0.5, 0.5))
                module.running_mean.copy_(uniform(module.running_mean, -0.5, 0.5))
                module.running_var.copy_(uniform(module.running_var, 0.3, 3))
    return net
