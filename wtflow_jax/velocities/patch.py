"""A velocity on single positions: a residual MLP that sees one feature vector, its time and place.

Its layers act on the channel axis, so it takes whole maps like any other velocity.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import flax.linen as nn

from wtflow_jax.flow.maps import WTMap
from wtflow_jax.flow.types import Time
from wtflow_jax.velocities import VELOCITIES
from wtflow_jax.velocities.network import DType, Map, Network, TimeEmbedding

BLOCKS = 3


class PatchModule(nn.Module):
    """The network for one map; ``position`` adds a learned vector for each position."""

    width: int
    position: bool = True
    dtype: DType = None

    @nn.compact
    def __call__(self, t: Time, x: Map) -> Map:
        """Return v(x, t) (h, w, c) for one feature map x (h, w, c) at a time t in [0, 1]."""
        dense = partial(nn.Dense, self.width, dtype=self.dtype)
        norm = partial(nn.LayerNorm, dtype=self.dtype)
        time = TimeEmbedding(self.width, self.dtype)(t)
        y = dense()(x)
        if self.position:
            place = self.param("position", nn.initializers.normal(1.0), y.shape)
            y = y + place.astype(y.dtype)
        for _ in range(BLOCKS):
            z = dense()(nn.silu(norm()(y))) + dense()(time)
            y = y + dense()(nn.silu(norm()(z)))
        # Initially v = 0, as in the U-Net.
        last = nn.Dense(x.shape[-1], kernel_init=nn.initializers.zeros, dtype=self.dtype)
        return last(y).astype(x.dtype)


@VELOCITIES.add("patch")
@dataclass(frozen=True)
class Patch(Network):
    """An MLP on single positions."""

    width: int = 256
    position: bool = True

    MODULE: ClassVar = PatchModule

    def usual(self, wt: WTMap) -> dict[str, Any]:
        """Return one step from a later start, at which this network scored best."""
        own = {"width": 256, "position": True, "epochs": 20, "steps_det": 1}
        return own | {"start": 0.1 if wt.isotropic else 0.3, "residual": wt.isotropic}
