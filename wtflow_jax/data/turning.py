"""Decides from good images alone whether to turn images so that their objects lie alike.

Images are turned if nearly all show a long object on a plain background, the objects lie in all
directions, and images turned by ``pose`` resemble one another much more than before.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from wtflow_jax.data.depth import White
from wtflow_jax.data.images import UNKNOWN, is_large, open_image
from wtflow_jax.data.pose import Images, Pose, estimate, small, straighten
from wtflow_jax.data.sample import File
from wtflow_jax.support.console import Track, untracked
from wtflow_jax.support.threads import ahead

ALIKE = 32
"""Side in pixels of the thumbnails that are compared with one another."""
SAMPLE = 64
"""Maximum number of good images that ``of_files`` reads."""
LEAST = 8
"""Minimum number of good images: fewer do not show how objects lie, and ``use`` is False."""
MOST = 0.95
"""Minimum share of good images that are plain, elongated and inside; a few may be odd."""
PLAIN = 0.9
"""Minimum share of an image's border that is background."""
ELONGATED = 4.0
"""Minimum ratio of second moments: that of a bar twice as long as wide."""
INSIDE = 0.98
"""Minimum share of the foreground that is still in the image after it is turned."""
SURE = 0.05
"""Median skewness from which the two ends of objects are distinguished."""
ALIGNED = 0.9
"""Length of the mean of unit vectors along the axes, from which objects lie alike already."""
LEFT = 0.5
"""Turning must reduce 1 - correlation with the mean of other images to this share, or less."""


class Evidence(NamedTuple):
    """Measurements on good images for or against turning them; ``use`` is the decision."""

    images: int  #: number of images measured
    plain: float  #: share of them with a plain border, see ``PLAIN``
    elongated: float  #: share of them with an object longer than wide, see ``ELONGATED``
    inside: float  #: share of them whose object stays in the image, see ``INSIDE``
    aligned: float  #: 1 if all axes point one way, near 0 if they point in all directions
    untouched: float  #: mean correlation with the mean of other images, before turning
    straightened: float  #: the same after turning
    shift: float  #: from an object's centroid to the midpoint of its ends, share of the longer side

    @property
    def use(self) -> bool:
        """Whether to turn images: all criteria are met."""
        shares = self.plain, self.elongated, self.inside
        gain = 1 - self.straightened <= LEFT * (1 - self.untouched)
        return self.images >= LEAST and min(shares) >= MOST and self.aligned < ALIGNED and gain

    def __str__(self) -> str:
        """Return the figures in a line."""
        return (
            f"of {self.images} good images {self.elongated:.0%} show a long object and "
            f"{self.plain:.0%} a plain border; correlation with the mean of others: turned "
            f"{self.straightened:.2f}, as they are {self.untouched:.2f}"
        )


def evidence(images: Iterable[Images]) -> Evidence:
    """Return the evidence of good images, each uint8 RGB of any size."""
    poses, plain, turned = list[Pose](), list[np.ndarray](), list[np.ndarray]()
    kept = list[np.ndarray]()
    for image in images:
        kept.append(small(image))
        poses.append(estimate(kept[-1]))
    if not poses:
        return Evidence(0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0)
    middles = [pose.middle / max(pose.size) for pose in poses]
    # Three digits: enough for a pixel of a window.
    shift = round(float(np.mean(middles)), 3)
    inside = []
    for image in kept:
        moved = estimate(image, shift)
        plain.append(_thumbnail(image))
        turned.append(_thumbnail(straighten(image, moved)))
        inside.append(moved.inside >= INSIDE)
    # An axis without a direction repeats after half a turn.
    times = 1 if np.median([pose.skewness for pose in poses]) >= SURE else 2
    angles = times * np.array([pose.angle for pose in poses])
    return Evidence(
        images=len(poses),
        plain=float(np.mean([pose.plain >= PLAIN for pose in poses])),
        elongated=float(np.mean([pose.elongation >= ELONGATED for pose in poses])),
        inside=float(np.mean(inside)),
        aligned=float(abs(np.exp(1j * angles).mean())),
        untouched=_agreement(np.stack(plain)),
        straightened=_agreement(np.stack(turned)),
        shift=shift,
    )


def wanted(images: Iterable[Images]) -> bool:
    """Return whether to turn images like these good ones; see ``Evidence``."""
    return evidence(images).use


def of_files(files: Sequence[File], white: White = UNKNOWN, track: Track = untracked) -> Evidence:
    """Return the evidence of ``SAMPLE`` good images, evenly spread, or of all if there are fewer.

    If there are fewer than ``LEAST``, none is decoded. Errors as ``open_image``.
    """
    count = len(files) if len(files) >= LEAST else 0
    some = [files[i * count // SAMPLE] for i in range(SAMPLE)] if count > SAMPLE else files[:count]
    advance = track("how objects lie", len(some))

    def one(file: File) -> Images:
        return small(np.asarray(open_image(file, white)))

    def thumbnails() -> Iterator[Images]:
        for image in ahead(one, some, alone=is_large):
            yield image
            advance()

    return evidence(thumbnails())


def _thumbnail(image: Images) -> np.ndarray:
    grey = Image.fromarray(image).convert("L")
    return np.asarray(grey.resize((ALIKE, ALIKE), Image.Resampling.BOX), np.float64).ravel()


def _agreement(thumbs: Float[np.ndarray, "n d"]) -> float:
    """Return the mean correlation of thumbnails with the mean of all others."""
    unit = thumbs - thumbs.mean(axis=1, keepdims=True)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-9)
    others = unit.sum(axis=0) - unit
    others /= np.maximum(np.linalg.norm(others, axis=1, keepdims=True), 1e-9)
    return float((unit * others).sum(axis=1).mean())
