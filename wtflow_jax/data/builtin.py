"""A category that needs no download: damaged crops of three photographs that scikit-image ships.

Brick, grass and gravel are mixed, so a model must learn several kinds of good images at once. The
pixels are the same on every machine: all operations are rounded exactly by IEEE 754 (no exp, no
cosine), and Python guarantees the random stream (``random.Random.random``, ``uniform`` by its
documented formula, and ``randbytes``).
"""

import shutil
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from wtflow_jax.data.files import GOOD
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.files import alone

CATEGORY = "texture"
VERSION = 1
"""Part of the directory's name: raise it when pixels change, so that no old copy is used."""
CROP = 192
"""Side of an image in pixels."""
COLUMNS = {"train": (0, 304), "test": (304, 512)}
"""Columns of the photographs that each split is cut from: the splits share no pixel."""
PHOTOGRAPHS = ("brick", "grass", "gravel")
TRAIN, TEST_GOOD, TEST_EACH = 60, 20, 10

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Float = NDArray[np.floating]
Painted = tuple[Mask, NDArray[Any] | float, float]


class Damaged(NamedTuple):
    """A crop before and after, uint8 [192, 192], and the altered pixels, bool [192, 192]."""

    good: Grey
    image: Grey
    mask: Mask


def generate(directory: Path) -> Path:
    """Write the built-in category, or use the copy that exists.

    Several processes may call this at once. The directory is created if it does not exist.

    Returns:
        The data set's root, ``directory/builtin-VERSION``. Its one category is ``texture``,
        192x192 8-bit grey PNG files in MVTec AD layout.

    Raises:
        WTFlowError: the existing copy is incomplete.
    """
    root = directory / f"builtin-{VERSION}"
    if not root.exists():
        with alone(directory, wait=True):
            if not root.exists():
                unfinished = directory / f"unfinished-{VERSION}"
                shutil.rmtree(unfinished, ignore_errors=True)
                _write(unfinished / CATEGORY)
                unfinished.rename(root)
    found = sum(1 for _ in root.rglob("*.png"))
    expected = TRAIN + TEST_GOOD + 2 * TEST_EACH * len(DEFECTS)
    if found != expected:
        raise WTFlowError(
            f"{root}: {found} of {expected} files of the built-in category: "
            "delete this directory to have it made again"
        )
    return root


def _write(category: Path) -> None:
    photographs = _photographs()
    defects = (("test", kind, TEST_EACH) for kind in DEFECTS)
    for split, kind, count in (("train", GOOD, TRAIN), ("test", GOOD, TEST_GOOD), *defects):
        images, masks = category / split / kind, category / "ground_truth" / kind
        for directory in (images, masks) if kind != GOOD else (images,):
            directory.mkdir(parents=True)
        for i in range(count):
            made = make_image(photographs, split, kind, i)
            Image.fromarray(made.image).save(images / f"{i:03d}.png")
            if kind != GOOD:
                Image.fromarray(made.mask).save(masks / f"{i:03d}_mask.png")


def _photographs() -> tuple[Grey, ...]:
    # Imported late: scikit-image is slow to import, and most runs use other data.
    from skimage import data

    return tuple(np.asarray(getattr(data, name)(), np.uint8) for name in PHOTOGRAPHS)


def make_image(photographs: tuple[Grey, ...], split: str, kind: str, index: int) -> Damaged:
    """Return an image of a split and a kind (``good``, or a key of ``DEFECTS``), and its crop.

    Images cycle through the photographs, each uint8 [512, 512]. The mask is true exactly where the
    image and the crop differ.
    """
    rng = Random(f"{split}/{kind}/{index}")
    which = index % len(photographs)
    good = _crop(rng, photographs[which], COLUMNS[split], upside_down=which > 0)
    if kind == GOOD:
        return Damaged(good, good, np.zeros(good.shape, bool))
    # Grass on gravel, or gravel on grass, is hard to see: crop or donor is always brick.
    donor_of = 0 if which else _integer(rng, 1, 2)
    donor = _crop(rng, photographs[donor_of], COLUMNS[split], upside_down=True)
    # Evenly spaced strengths: every kind has faint and plain examples, whatever the seed.
    strength = ((index * 7) % TEST_EACH + 0.5) / TEST_EACH
    region, paint, share = DEFECTS[kind](rng, good, donor, strength)
    painted = np.floor(good * (1 - share) + paint * share + 0.5)
    image = np.clip(painted, 0, 255).astype(np.uint8)
    # A painted pixel may equal its old grey: change it by one level, so that the mask is exact.
    off = np.where(good < 128, good + 1, good - 1).astype(np.uint8)
    image = np.where(region, np.where(image == good, off, image), good)
    return Damaged(good, image, region)


def _crop(rng: Random, photograph: Grey, columns: tuple[int, int], upside_down: bool) -> Grey:
    top = _integer(rng, 0, photograph.shape[0] - CROP)
    left = _integer(rng, columns[0], columns[1] - CROP)
    crop = photograph[top : top + CROP, left : left + CROP]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    # Good brick crops are never upside down: bricks recede upwards in every training image.
    if upside_down and rng.random() < 0.5:
        crop = crop[::-1]
    return np.ascontiguousarray(crop)


def _cut_paste(rng: Random, good: Grey, donor: Grey, strength: float) -> Painted:
    return _patch(rng, rng.uniform(32, 50)), donor, 0.65 + 0.35 * strength


def _scratch(rng: Random, good: Grey, donor: Grey, strength: float) -> Painted:
    length = rng.uniform(34, 52)
    along = _direction(rng)
    bend = rng.uniform(-0.25, 0.25) * length
    middle = _centre(rng, length / 2)
    t = np.linspace(-1, 1, 97)[:, None]
    line = middle + t * along * length / 2 + (1 - t * t) * along[::-1] * (1, -1) * bend
    y, x = np.mgrid[:CROP, :CROP].astype(np.float64)
    nearest = np.full((CROP, CROP), np.inf)
    for (cy, cx), at in zip(line, t[:, 0], strict=True):
        width = 0.7 + (0.8 + strength) * (1 - at * at)
        nearest = np.minimum(nearest, (np.square(y - cy) + np.square(x - cx)) / (width * width))
    return nearest < 1, 235.0 if rng.random() < 0.5 else 25.0, 0.5 + 0.5 * strength


def _blob(rng: Random, good: Grey, donor: Grey, strength: float) -> Painted:
    region = _patch(rng, rng.uniform(22, 44))
    return region, 20.0 if rng.random() < 0.6 else 225.0, 0.25 + 0.5 * strength


def _blur(rng: Random, good: Grey, donor: Grey, strength: float) -> Painted:
    diameter = rng.uniform(32, 50)
    blurred = _smooth(good.astype(np.int64), 2 + int(3 * strength))
    # The face of a brick is smooth already: of four places, take the one that changes most.
    change = np.abs(blurred - good)
    region = max((_patch(rng, diameter) for _ in range(4)), key=lambda r: int(change[r].sum()))
    return region, blurred, 1.0


DEFECTS = dict(blob=_blob, blur=_blur, cut_paste=_cut_paste, scratch=_scratch)
"""Each takes (rng, crop, crop of another photograph, strength in [0, 1]) and returns the damaged
region, bool [192, 192], the grey painted there, a number or [192, 192], and its opacity."""


def _patch(rng: Random, diameter: float) -> Mask:
    """A ragged ellipse, true inside."""
    stretch = rng.uniform(0.7, 1.0)
    along = _direction(rng)
    centre = _centre(rng, 0.65 * diameter)
    noise = np.frombuffer(rng.randbytes(CROP * CROP), np.uint8).astype(np.int64)
    rough = _smooth(noise.reshape(CROP, CROP) << 8, 3).astype(np.float64)
    rough = (rough - 127.5 * 256) / (12 * 256)
    y, x = np.mgrid[:CROP, :CROP].astype(np.float64)
    y, x = y - centre[0], x - centre[1]
    u = (along[0] * y + along[1] * x) / (diameter / 2)
    v = (along[0] * x - along[1] * y) / (diameter / 2 * stretch)
    return u * u + v * v + 0.35 * np.clip(rough, -1, 1) < 1


def _smooth(field: NDArray[np.int64], radius: int) -> NDArray[np.int64]:
    """Three box filters, close to a Gaussian; integers, since sums of floats depend on order."""
    ones = np.ones(2 * radius + 1, np.int64)
    for axis in (0, 1) * 3:
        sums = ndimage.convolve1d(field, ones, axis, mode="nearest")
        field = np.asarray((sums + radius) // len(ones), np.int64)
    return field


def _centre(rng: Random, margin: float) -> Float:
    return np.array([rng.uniform(margin, CROP - margin) for _ in range(2)])


def _direction(rng: Random) -> Float:
    dy, dx = rng.uniform(-1, 1), rng.uniform(0.1, 1)
    return np.array([dy, dx]) / np.sqrt(dy * dy + dx * dx)


def _integer(rng: Random, low: int, high: int) -> int:
    return low + int((high - low + 1) * rng.random())
