"""Do masks mark what is good? Nobody can know, but a defect is seldom most of an image."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Marked(NamedTuple):
    """A defective image with a mask: its path, and the share of its pixels that is marked."""

    path: str
    share: float


def doubt(marked: Sequence[Marked]) -> str | None:
    """Return a line that asks whether masks are inverted; None where there is no reason to.

    There is where the median defective image has more than half of its pixels marked. A single
    large defect is none: of a logical anomaly much of the image may be marked.

    Args:
        marked: all defective images with masks of a category.
    """
    if not marked or np.median([one.share for one in marked]) <= 0.5:
        return None
    path, share = max(marked, key=lambda one: one.share)
    return (
        f"{path}: its mask marks {share:.0%} of it, and most masks mark more than half of their "
        "image: are they inverted? What is above zero is defective"
    )
