"""Are images to be turned so that the objects on them lie alike? Good ones alone decide it.

They are where nearly every one shows a long object on a plain background, these lie every way, and
images that are turned by ``pose`` are much more like one another than as they are.
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
"""Good images that ``wanted`` looks at."""
LEAST = 8
"""Good images below which ``wanted`` says no: too few to say how objects lie."""
MOST = 0.95
"""Share of good images that must be as ``wanted`` asks; a few may be odd."""
PLAIN = 0.9
"""Share of an image's border that is background."""
ELONGATED = 4.0
"""Ratio of second moments: that of a bar twice as long as wide."""
INSIDE = 0.98
"""Share of the foreground that is still in the image after it is turned."""
SURE = 0.05
"""Median skewness from which on the two ends of objects are told apart."""
ALIGNED = 0.9
"""Length of the mean of unit vectors along the axes; from there on objects lie alike already."""
LEFT = 0.5
"""Of what an image has beside the mean image: the share that is left, at most, by turning it."""


class Evidence(NamedTuple):
    """What good images say for or against turning them; ``use`` is the answer."""

    images: int  #: that were looked at
    plain: float  #: share of them with a plain border, see ``PLAIN``
    elongated: float  #: share of them with an object longer than wide, see ``ELONGATED``
    inside: float  #: share of them whose object stays in the image, see ``INSIDE``
    aligned: float  #: 1 where all axes point one way, near 0 where they point every way
    untouched: float  #: mean correlation with the mean of other images, as they are
    straightened: float  #: and turned
    shift: float  #: of the middle between an object's ends from its centroid, a share of a side

    @property
    def use(self) -> bool:
        """Whether images are to be turned: all of it speaks for it."""
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
    """Return what good images, each uint8 RGB of any size, say for or against turning them."""
    poses, plain, turned = list[Pose](), list[np.ndarray](), list[np.ndarray]()
    kept = list[np.ndarray]()
    for image in images:
        kept.append(small(image))
        poses.append(estimate(kept[-1]))
    if not poses:
        return Evidence(0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0)
    middles = [pose.middle / max(pose.size) for pose in poses]
    # As many digits as a pixel of a window needs.
    shift = round(float(np.mean(middles)), 3)
    inside = []
    for image in kept:
        moved = estimate(image, shift)
        plain.append(_thumbnail(image))
        turned.append(_thumbnail(straighten(image, moved)))
        inside.append(moved.inside >= INSIDE)
    # An axis without a direction comes back after half a turn.
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
    """Return whether images like these good ones are to be turned; see ``Evidence``."""
    return evidence(images).use


def of_files(files: Sequence[File], white: White = UNKNOWN, track: Track = untracked) -> Evidence:
    """Return the evidence of ``SAMPLE`` good images, evenly spread; of too few none is decoded.

    Errors as ``open_image``.
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
