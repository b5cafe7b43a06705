"""The pose of an object on a plain background, and straightening: all objects then lie alike.

A model that learns what is good at each position of an image wastes images if its objects lie in
all directions. Here an image is turned by the principal axis of its foreground (all pixels that
differ from the colour of the image's border), and its map is turned back.

The sign of the third moment gives the axis its direction. An object with two equal ends has no such
sign: its images then lie in two directions, 180 degrees apart, still fewer than before. Mirror
images are not distinguished from turned ones, and nothing is scaled.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy import ndimage

from wtflow_jax.data.depth import White
from wtflow_jax.data.images import UNKNOWN, is_large, open_image
from wtflow_jax.data.sample import File
from wtflow_jax.support.threads import ahead

VERSION = 1
"""Raise it whenever the same image would be turned differently."""
SIDE = 96
"""Longer side in pixels of the thumbnail that is measured; fine noise is averaged away."""
BLUR = 1.0
"""Standard deviation of the Gaussian that smooths the thumbnail, in the thumbnail's pixels."""
FOREGROUND = 0.25
"""Share of the largest difference from the border; pixels that differ less are background."""
FULL = 0.5
"""Share of the same at which differences are clipped, so that highlights do not move the pose."""
ENDS = 0.005, 0.995
"""Quantiles of the foreground along the axis that are an object's ends: specks lie beyond them."""

Images = UInt8[np.ndarray, "H W 3"]
Size = tuple[int, int]


class Pose(NamedTuple):
    """The pose of the object in an image."""

    size: Size  #: (h, w) of the image; the centre is in its pixels
    angle: float  #: from the x axis to the object's axis, clockwise on the screen, radians
    centre: tuple[float, float]  #: (x, y) of the point that moves to the middle of the image
    elongation: float = 1.0  #: ratio of second moments, along the axis and across it
    skewness: float = 0.0  #: of the foreground along the axis, absolute: near 0 its sign is chance
    plain: float = 1.0  #: share of the image's border that is background
    inside: float = 1.0  #: share of the foreground that the straightened image shows
    middle: float = 0.0  #: midpoint of the object's ends, from the centre along the axis, in pixels


def estimate(image: Images, shift: float = 0.0) -> Pose:
    """Return the pose of the object in an image.

    Args:
        image: uint8 RGB.
        shift: of the centre from the centroid, along the axis, as a share of the longer side:
            ``turning.Evidence.shift``, the same for all images of a model.

    Returns:
        The pose. That of an image of one colour does not turn it.
    """
    size = height, width = image.shape[:2]
    grey = Image.fromarray(small(image)).convert("L")
    # Otherwise specks of noise would count by their distance.
    values = ndimage.gaussian_filter(np.asarray(grey, np.float64), BLUR)
    border = _border(values)
    differs = np.abs(values - np.median(border))
    least = FOREGROUND * differs.max()
    weights = np.where(differs >= least, np.minimum(differs, FULL * differs.max()), 0.0)
    if not weights.any():
        return Pose(size, _along(size), (width / 2, height / 2))
    plain = float(np.mean(np.abs(border - np.median(border)) < least))
    y, x = np.nonzero(weights)
    w = weights[y, x] / weights.sum()
    # Centres of the thumbnail's pixels, in pixels of the image.
    rows, columns = grey.height, grey.width
    points = np.stack([x + 0.5, y + 0.5], axis=-1) * (width / columns, height / rows)
    centroid = w @ points
    from_it = points - centroid
    moments, axes = np.linalg.eigh((w[:, None] * from_it).T @ from_it)
    along = from_it @ axes[:, 1]
    third = w @ along**3
    if third < 0:
        axes, along = -axes, -along
    axis, across = axes[:, 1], max(moments[0], 1e-9)
    centre = centroid + shift * max(size) * axis
    pose = Pose(
        size,
        float(np.arctan2(axis[1], axis[0])),
        (float(centre[0]), float(centre[1])),
        float(moments[1] / across),
        float(abs(third) / max(moments[1], 1e-9) ** 1.5),
        plain,
        middle=float(np.quantile(along, ENDS).mean() - shift * max(size)),
    )
    forward = _forward(pose, size)
    there = points @ forward[:2, :2].T + forward[:2, 2]
    shown = ((there > 0) & (there < (width, height))).all(axis=1)
    return pose._replace(inside=float(shown.mean()))


def straighten(image: Images, pose: Pose) -> Images:
    """Return an image turned by its pose, at the same size.

    The axis lies along the longer side, the centre in the middle. Pixels from outside the image get
    the median colour of its border. ``image`` may have been scaled since its pose was estimated,
    also by a different factor in each direction.
    """
    ground = np.median(_border(image).reshape(-1, 3), axis=0)
    fill = tuple(int(level) for level in ground)
    inverse = np.linalg.inv(_forward(pose, image.shape[:2]))
    return np.asarray(_moved(Image.fromarray(image), inverse, Image.Resampling.BICUBIC, fill))


def back(values: Float[np.ndarray, "H W"], pose: Pose) -> Float[np.ndarray, "H W"]:
    """Return the map of a straightened image in the frame of the original image.

    Bilinear; parts that the straightened image does not show get the map's lowest value.
    """
    forward = _forward(pose, (values.shape[0], values.shape[1]))
    picture = Image.fromarray(values.astype(np.float32))
    lowest = float(values.min())
    return np.asarray(_moved(picture, forward, Image.Resampling.BILINEAR, lowest))


def read_image(path: File, size: Size, shift: float, white: White = UNKNOWN) -> tuple[Images, Pose]:
    """Decode an image, resize it as ``images.read_image`` does, and straighten it.

    Its pose is estimated before resizing, which may change the aspect.
    """
    image = open_image(path, white)
    lies = estimate(np.asarray(image), shift)
    resized = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return straighten(np.asarray(resized), lies), lies


def of_each(files: Iterable[File], shift: float) -> list[Pose]:
    """Return the pose of each image, as ``read_image`` estimates it."""

    def one(file: File) -> Pose:
        return estimate(np.asarray(open_image(file)), shift)

    return list(ahead(one, files, alone=is_large))


def small(image: Images) -> UInt8[np.ndarray, "h w 3"]:
    """Return an image scaled to at most ``SIDE`` pixels a side, by averaging."""
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def _border(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def _along(size: Size) -> float:
    """Return the angle of the axis in a straightened image: that of the longer side."""
    return math.pi / 2 if size[0] > size[1] else 0.0


def _forward(pose: Pose, size: Size) -> Float[np.ndarray, "3 3"]:
    """Return the matrix that maps a point (x, y, 1) of an image to the straightened image."""
    (height, width), turn = pose.size, _along(pose.size) - pose.angle
    c, s = math.cos(turn), math.sin(turn)
    turned = np.array([[c, -s], [s, c]])
    moved = np.eye(3)
    moved[:2, :2] = turned
    moved[:2, 2] = np.array([width / 2, height / 2]) - turned @ pose.centre
    # Turned in the pixels of the original size: another aspect would change lengths.
    scale = np.diag([size[1] / width, size[0] / height, 1.0])
    return scale @ moved @ np.linalg.inv(scale)


def _moved(
    picture: Image.Image,
    matrix: np.ndarray,
    how: Image.Resampling,
    fill: float | tuple[int, ...],
) -> Image.Image:
    """Return a picture whose point p shows the point ``matrix`` p of the given one."""
    data = tuple(float(number) for number in matrix[:2].ravel())
    return picture.transform(
        picture.size, Image.Transform.AFFINE, data, resample=how, fillcolor=fill
    )
