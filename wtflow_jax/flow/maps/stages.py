"""A WT map for each stage of a backbone: channels are split, mapped separately and joined.

A cell's score is then the mean over the stages (``flow.scores.cell_scores``).
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from wtflow_jax.flow.maps import Stats, WTMap
from wtflow_jax.flow.types import Samples


@dataclass(frozen=True)
class ByStage(WTMap):
    """One WT map per stage."""

    wt: WTMap
    """The map of one stage."""
    channels: tuple[int, ...]
    """Number of channels of each stage."""

    def _parts(self, features: Samples) -> dict[str, Array]:
        ends = itertools.accumulate(self.channels)
        slices = zip(self._names(), ends, self.channels, strict=True)
        return {name: features[..., end - count : end] for name, end, count in slices}

    def _names(self) -> list[str]:
        return [f"stage{i}" for i in range(len(self.channels))]

    def fit(self, features: Samples) -> Stats:
        """Return the statistics of each stage, by ``stage0`` and so on."""
        return {name: self.wt.fit(part) for name, part in self._parts(features).items()}

    def fit_like(self, stats: Stats, features: Samples) -> Stats:
        """Fit each stage to fewer samples."""
        return {
            name: self.wt.fit_like(stats[name], part)
            for name, part in self._parts(features).items()
        }

    def apply(self, stats: Stats, features: Samples) -> Samples:
        """Return x0 (n, *event) of features (n, *event), all stages' channels in their order."""
        parts = self._parts(features).items()
        return jnp.concatenate([self.wt.apply(stats[name], part) for name, part in parts], axis=-1)

    def choice(self, stats: Stats) -> str:
        """Return what was chosen for each stage."""
        each = [self.wt.choice(stats[name]) for name in self._names()]
        return "; ".join(f"stage {i}, {one}" for i, one in enumerate(each, 1) if one)

    def restore(self, arrays: Mapping[str, Any]) -> Stats:
        """Return each stage's statistics from their saved arrays by name."""
        return {name: self.wt.restore(arrays.get(name, {})) for name in self._names()}
