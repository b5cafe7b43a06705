"""The layers of the U-Net, by its width: parameters and operations of each."""

import math
from typing import NamedTuple


class Convolution(NamedTuple):
    """A convolution, or with one cell a dense layer.

    Attributes:
        size: of the kernel, size × size.
        before: channels it takes.
        after: channels it gives.
        height: of the map.
        width: of the map.
    """

    size: int
    before: int
    after: int
    height: int = 1
    width: int = 1

    @property
    def parameters(self) -> int:
        """Kernel and bias."""
        return (self.size**2 * self.before + 1) * self.after

    @property
    def flops(self) -> int:
        """Of one map, a product and a sum each; what the kernel sees of the padding is not one."""
        beyond = sum(range(self.size // 2 + 1)) * 2
        rows, columns = (max(self.size * n - beyond, n) for n in (self.height, self.width))
        return 2 * rows * columns * self.before * self.after


class Network(NamedTuple):
    """What a U-Net is made of.

    Attributes:
        convolutions: and dense layers.
        normed: elements that a group norm and a SiLU pass, of one map.
        parameters: all of them.
    """

    convolutions: tuple[Convolution, ...]
    normed: int
    parameters: int

    @property
    def flops(self) -> int:
        """Of one velocity; norms and activations, some 20 an element, included."""
        return sum(layer.flops for layer in self.convolutions) + 20 * self.normed


FIRST = 2
"""Place among the convolutions of the one that takes a feature map."""


def network(width: int, channels: int, cells: tuple[int, int]) -> Network:
    """Return the layers of ``wtflow_jax.velocities.unet.UNet``.

    Args:
        width: base width B.
        channels: C of a feature map.
        cells: its height and width.
    """
    b = width
    levels = [cells]
    for _ in range(2):
        levels.append((math.ceil(levels[-1][0] / 2), math.ceil(levels[-1][1] / 2)))
    blocks = [
        *((b, 2 * b, 0), (2 * b, 2 * b, 0), (2 * b, 4 * b, 1), (4 * b, 4 * b, 1)),
        (4 * b, 4 * b, 2),
        *((8 * b, 2 * b, 1), (2 * b, 2 * b, 1), (4 * b, b, 0), (b, b, 0)),
    ]
    found = [
        Convolution(1, b // 2, 4 * b),
        Convolution(1, 4 * b, b),
        Convolution(3, channels, b, *cells),
        Convolution(1, b, channels, *cells),
    ]
    normed = scales = 0
    for before, after, level in blocks:
        found += [
            Convolution(3, before, after, *levels[level]),
            Convolution(1, b, after),
            Convolution(3, after, after, *levels[level]),
        ]
        if before != after:
            found.append(Convolution(1, before, after, *levels[level]))
        normed += 2 * after * math.prod(levels[level])
        scales += 2 * 2 * after
    return Network(tuple(found), normed, scales + sum(layer.parameters for layer in found))
