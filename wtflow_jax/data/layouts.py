"""The data sets: who reads each, and how many images of each category are published."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from wtflow_jax.data import btad, folder, kolektor, loco, mtd, mvtec, visa
from wtflow_jax.data.sample import Category
from wtflow_jax.support.errors import WTFlowError


class Counts(NamedTuple):
    """Images of a category.

    Attributes:
        train: good images to train on.
        test_good: good test images.
        test_defective: defective test images.
        validation: further good images.
    """

    train: int
    test_good: int
    test_defective: int
    validation: int = 0


class Layout(NamedTuple):
    """A data set as published.

    Attributes:
        title: its name in print.
        source: who published it.
        categories: ``categories(root)`` lists its categories.
        open_category: ``open_category(root, name)`` reads one.
        published: the images of each category; empty where nothing is published.
    """

    title: str
    source: str
    categories: Callable[[Path], tuple[str, ...]]
    open_category: Callable[[Path, str], Category]
    published: Mapping[str, Counts]


MVTEC_AD = {
    "carpet": Counts(280, 28, 89),
    "grid": Counts(264, 21, 57),
    "leather": Counts(245, 32, 92),
    "tile": Counts(230, 33, 84),
    "wood": Counts(247, 19, 60),
    "bottle": Counts(209, 20, 63),
    "cable": Counts(224, 58, 92),
    "capsule": Counts(219, 23, 109),
    "hazelnut": Counts(391, 40, 70),
    "metal_nut": Counts(220, 22, 93),
    "pill": Counts(267, 26, 141),
    "screw": Counts(320, 41, 119),
    "toothbrush": Counts(60, 12, 30),
    "transistor": Counts(213, 60, 40),
    "zipper": Counts(240, 32, 119),
}
MPDD = {
    "bracket_black": Counts(289, 32, 47),
    "bracket_brown": Counts(185, 26, 51),
    "bracket_white": Counts(110, 30, 30),
    "connector": Counts(128, 30, 14),
    "metal_plate": Counts(54, 26, 71),
    "tubes": Counts(122, 32, 69),
}
MVTEC_3D = {
    "bagel": Counts(244, 22, 88, 22),
    "cable_gland": Counts(223, 21, 87, 23),
    "carrot": Counts(286, 27, 132, 29),
    "cookie": Counts(210, 28, 103, 22),
    "dowel": Counts(288, 26, 104, 34),
    "foam": Counts(236, 20, 80, 27),
    "peach": Counts(361, 26, 106, 42),
    "potato": Counts(300, 22, 92, 33),
    "rope": Counts(298, 32, 69, 33),
    "tire": Counts(210, 25, 87, 29),
}
# Logical and structural anomalies together. The paper counts 354 and 59 of splicing_connectors;
# the archive holds 360 and 60.
MVTEC_LOCO = {
    "breakfast_box": Counts(351, 102, 83 + 90, 62),
    "juice_bottle": Counts(335, 94, 142 + 94, 54),
    "pushpins": Counts(372, 138, 91 + 81, 69),
    "screw_bag": Counts(360, 122, 137 + 82, 60),
    "splicing_connectors": Counts(360, 119, 108 + 85, 60),
}
VISA = {
    "candle": Counts(900, 100, 100),
    "capsules": Counts(542, 60, 100),
    "cashew": Counts(450, 50, 100),
    "chewinggum": Counts(453, 50, 100),
    "fryum": Counts(450, 50, 100),
    "macaroni1": Counts(900, 100, 100),
    "macaroni2": Counts(900, 100, 100),
    "pcb1": Counts(904, 100, 100),
    "pcb2": Counts(901, 100, 100),
    "pcb3": Counts(905, 101, 100),
    "pcb4": Counts(904, 101, 100),
    "pipe_fryum": Counts(450, 50, 100),
}
BTAD = {
    "01": Counts(400, 21, 49),
    "02": Counts(399, 30, 200),
    "03": Counts(1000, 400, 41),
}

LAYOUTS: dict[str, Layout] = {
    "mvtec_ad": Layout(
        "MVTec AD", "Bergmann et al., IJCV 2021", mvtec.categories, mvtec.open_category, MVTEC_AD
    ),
    "mpdd": Layout("MPDD", "Jezek et al., ICUMT 2021", mvtec.categories, mvtec.open_category, MPDD),
    "mvtec_3d": Layout(
        "MVTec 3D-AD",
        "Bergmann et al., VISAPP 2022",
        mvtec.categories,
        mvtec.open_category,
        MVTEC_3D,
    ),
    "mvtec_loco": Layout(
        "MVTec LOCO AD",
        "Bergmann et al., IJCV 2022",
        loco.categories,
        loco.open_category,
        MVTEC_LOCO,
    ),
    "visa": Layout("VisA", "Zou et al., ECCV 2022", visa.categories, visa.open_category, VISA),
    "btad": Layout("BTAD", "Mishra et al., ISIE 2021", btad.categories, btad.open_category, BTAD),
    "mtd": Layout(
        "MTD",
        "Huang et al., The Visual Computer 2020",
        mtd.categories,
        mtd.open_category,
        {mtd.NAME: Counts(762, 190, 392)},
    ),
    "kolektor_sdd": Layout(
        "KolektorSDD",
        "Tabernik et al., Journal of Intelligent Manufacturing 2020",
        kolektor.categories,
        kolektor.open_category,
        {kolektor.NAME: Counts(295, 52, 52)},
    ),
    "folder": Layout("folder", "your own", folder.categories, folder.open_category, {}),
}
"""By the name that a user gives."""
PREPARED = "tfds:"
"""Before a layout's name: the data set as ``tfds.prepare`` has stored it."""


def find(layout: str) -> Layout:
    """Looks a layout up.

    Raises:
        WTFlowError: there is none of that name.
    """
    if layout not in LAYOUTS:
        raise WTFlowError(f"layout {layout!r}: no such layout: take one of {', '.join(LAYOUTS)}")
    return LAYOUTS[layout]


def categories(root: Path, layout: str = "mvtec_ad") -> tuple[str, ...]:
    """Names of the categories in a data set.

    Args:
        root: the data set's directory, as published; for ``tfds:LAYOUT`` the directory it was
            prepared into (``tfds.prepare``).
        layout: a key of ``LAYOUTS``, alone or after ``tfds:``.

    Returns:
        Sorted names, at least one.

    Raises:
        WTFlowError: no such layout, or the directory is not laid out so.
    """
    if layout.startswith(PREPARED):
        from wtflow_jax.data import tfds

        return tfds.categories(root, layout.removeprefix(PREPARED))
    return find(layout).categories(root)


def open_category(root: Path, name: str, layout: str = "mvtec_ad") -> Category:
    """Lists one category's images.

    Args:
        root: as for ``categories``.
        name: the category.
        layout: a key of ``LAYOUTS``, alone or after ``tfds:``.

    Returns:
        Training, test and validation samples, each kind sorted by file name.

    Raises:
        WTFlowError: no such layout, the directory is not laid out so, no such category, or one
            that is not whole; tensorflow-datasets is needed and not installed.
    """
    if layout.startswith(PREPARED):
        from wtflow_jax.data import tfds

        return tfds.open_category(root, name, layout.removeprefix(PREPARED))
    return find(layout).open_category(root, name)
