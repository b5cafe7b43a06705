"""``wtflow info``."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from wtflow_jax.detector.model import Model


@dataclass(frozen=True)
class Info:
    """Tell what a model is."""

    model: Annotated[Path, tyro.conf.Positional]
    """Directory that fit has written."""

    def execute(self) -> int:
        """Print what a model is."""
        from wtflow_jax.detector import model

        print("\n".join(describe(model.load(self.model))))
        return 0


def describe(fitted: "Model") -> list[str]:
    """Return what a person wants to know of a model, a line each."""
    wanted, n = fitted.config.false_alarms, len(fitted.training["held_out"])
    copies = fitted.training["images"] - n
    height, width = fitted.framing.size
    how = "scaled into" if fitted.framing.overlap is None else "cut into windows of"
    value, rate = fitted.threshold
    lines = [
        f"{n} good images{f' and {copies} copies' if copies else ''}, {how} {height}x{width} "
        f"pixels; {fitted.backbone.name}, {fitted.config.velocity} velocity, {fitted.config.wt}",
        f"defective above a score of {value:.5g}: of good images like these, scored by models "
        f"that had not seen them, {rate:.1%} are expected to be higher",
    ]
    if rate > wanted * 1.0001:
        enough = math.ceil(1 / wanted - 1e-9) - 1
        lines.append(
            f"{wanted:.1%} were asked for, which {n} images cannot promise: the threshold is the "
            f"highest of their scores, and it takes {enough} images for as few"
        )
    return lines
