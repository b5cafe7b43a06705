"""Notes after a fit: which of the good images the user should look at."""

import math
from collections.abc import Sequence

import numpy as np

from wtflow_jax.app.fit import LEAST, MOST, left_out
from wtflow_jax.app.groups import ALIKE
from wtflow_jax.data.sample import File
from wtflow_jax.detector.model import Model
from wtflow_jax.metrics.threshold import far
from wtflow_jax.support.errors import NAMED, listed, shown


def notes(fitted: Model, files: Sequence[File], group: str) -> list[str]:
    """Return lines on which images were taken for one part, and which may be defective.

    Args:
        fitted: a new model.
        files: all given images.
        group: the given ``--group``.
    """
    training = fitted.training
    scores, away = np.array(training["held_out"]), training["left_out"]
    of = np.array(training["held_out_of"])

    def scored(scores: Sequence[float], of: Sequence[int]) -> list[str]:
        highest = sorted(zip(scores, of, strict=True), reverse=True)
        return [f"{shown(files[i])} ({score:.5g})" for score, i in highest]

    lines = []
    if fitted.counted == "parts":
        labels = np.array(training["groups"])
        largest = np.nonzero(labels == np.bincount(labels).argmax())[0].tolist()
        otherwise = "; if they are not, give --group none" if group == ALIKE else ""
        named = listed([shown(files[i]) for i in largest])
        lines.append(f"taken for one part, for instance: {named}{otherwise}")
    if away:
        lines.append(
            f"left out: {', '.join(scored(away, training['left_out_of']))}; look at them: if "
            "they are good, give a lower --contamination"
        )
        every = np.concatenate([scores, away])
        stands_out = far(every)[len(scores) :].sum()
        if stands_out < len(away):
            lines.append(
                f"{len(away) - stands_out} of those left out are not far above the others: if they "
                "are good, the threshold is too low, and more good ones will be called defective "
                "than the rates say"
            )
    strange = far(scores)
    if strange.any():
        named = ", ".join(scored(scores[strange].tolist(), of[strange].tolist()))
        count, n = int(strange.sum()) + len(away), len(scores) + len(away)
        action = f"remove them or give --contamination {share_of(count, n)}"
        if n - count < LEAST or count > MOST * n:
            action = "remove them and give more good images"
        lines.append(
            f"far above all others: {named}; look at them: if they are defective, {action}"
        )
    elif not away:
        top = np.argsort(scores)[-NAMED:]
        named = listed(scored(scores[top].tolist(), of[top].tolist()))
        lines.append(
            f"highest held-out scores: {named}; a defective image among these raises the threshold"
        )
    return lines


def share_of(count: int, n: int) -> float:
    """Return the share with fewest digits that leaves out ``count`` of n; count at least 1."""
    digits = 2
    while left_out(share := math.floor(count / n * 10**digits) / 10**digits, n) != count:
        digits += 1
    return share
