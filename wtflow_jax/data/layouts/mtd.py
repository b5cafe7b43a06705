"""Magnetic tile defects (MTD): images and masks side by side, no split.

A fifth of the good images tests (``files.hold_out`` says which), the others train. The .png beside
a defective .jpg is its mask; those of good images are not used.
"""

from functools import partial
from pathlib import Path

from wtflow_jax.data.files import defective, good, hold_out, images, only
from wtflow_jax.data.layouts import LAYOUTS, Counts, Layout
from wtflow_jax.data.sample import Category, Sample

DEFECTS = ("Blowhole", "Break", "Crack", "Fray", "Uneven")


def read(root: Path, name: str) -> Category:
    """List the images; kinds are ``Blowhole``, ``Break`` and so on."""

    def photographs(kind: str) -> list[Path]:
        return images(root / f"MT_{kind}" / "Imgs", f"images of {name}", frozenset({".jpg"}))

    free = photographs("Free")
    train, held_out = hold_out(free, len(free) // 5)
    test: list[Sample] = []
    for kind in DEFECTS:
        masks = root / f"MT_{kind}" / "Imgs"
        test += defective(photographs(kind), kind, masks, endings=frozenset({".png"}))
    return Category(name, good(train), (*test, *good(held_out)))


LAYOUTS.add("mtd")(
    Layout(
        "MTD",
        "Huang et al., The Visual Computer 2020",
        partial(
            only,
            name="mtd",
            pattern="MT_Free",
            looks="MT_{Free,Blowhole,Break,Crack,Fray,Uneven}/Imgs/*.jpg",
        ),
        read,
        {"mtd": Counts(762, 190, 392)},
    )
)
