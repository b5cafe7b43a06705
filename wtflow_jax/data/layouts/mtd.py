"""Magnetic tile defects (MTD): images and masks side by side, no split.

A fifth of the good images is held out for testing (see ``files.hold_out``), the others are for
training. The .png beside a defective .jpg is its mask; masks of good images are not used.
"""

from functools import partial
from pathlib import Path

from wtflow_jax.data.files import defective, good, hold_out, images, only
from wtflow_jax.data.layouts import LAYOUTS, Layout, published
from wtflow_jax.data.sample import Category, Sample


def read(root: Path, name: str) -> Category:
    """List the images; kinds are ``Blowhole``, ``Break`` and so on."""
    photographs = partial(images, what=f"images of {name}", endings=frozenset({".jpg"}))
    free = photographs(root / "MT_Free" / "Imgs")
    train, held_out = hold_out(free, len(free) // 5)
    test: list[Sample] = []
    for kind in ("Blowhole", "Break", "Crack", "Fray", "Uneven"):
        directory = root / f"MT_{kind}" / "Imgs"
        test += defective(photographs(directory), kind, directory, endings=frozenset({".png"}))
    return Category(name, good(train), (*test, *good(held_out)))


looks = "MT_{Free,Blowhole,Break,Crack,Fray,Uneven}/Imgs/*.jpg"
categories = partial(only, name="mtd", pattern="MT_Free", looks=looks)
LAYOUTS.add("mtd")(
    Layout("MTD", "Huang et al., The Visual Computer 2020", categories, read, published("mtd"))
)
