"""MVTec AD, MPDD, which is laid out alike, and MVTec 3D-AD, of which only RGB is read."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from wtflow_jax.data.files import (
    GOOD,
    categories_in,
    defective,
    directories,
    files,
    good,
    has_split,
    images,
    listing,
)
from wtflow_jax.data.layouts import LAYOUTS, Counts, Layout
from wtflow_jax.data.sample import Category, Sample
from wtflow_jax.support.errors import WTFlowError


def read(root: Path, name: str) -> Category:
    """List a category; MVTec 3D-AD is told by directories ``rgb`` (its good masks are empty)."""
    category = root / name
    is_3d = any(category.glob("train/good/rgb")) or any(category.glob("test/*/rgb"))

    def masked(kind: Path, paths: list[Path]) -> list[Sample]:
        if is_3d:
            return defective(paths, kind.name, kind / "gt")
        return defective(paths, kind.name, category / "ground_truth" / kind.name, suffix="_mask")

    return by_kind(category, masked, "rgb" if is_3d else "")


def by_kind(
    category: Path, masked: Callable[[Path, list[Path]], list[Sample]], folder: str = ""
) -> Category:
    """List a category of ``train/good``, ``test/KIND`` and maybe ``validation/good``.

    Args:
        category: its directory.
        masked: of a defect's directory and its images, the samples.
        folder: in each of these directories, where the images are.
    """
    train = good(images(category / "train" / GOOD / folder, "training images"))
    test: list[Sample] = []
    for kind in _kinds(category):
        paths = images(kind / folder, "test images")
        test += good(paths) if kind.name == GOOD else masked(kind, paths)
    validation = good(files(category / "validation" / GOOD / folder))
    return Category(category.name, train, tuple(test), validation)


def _kinds(category: Path) -> tuple[Path, ...]:
    test = category / "test"
    found = directories(test) if test.is_dir() else ()
    if not found:
        there = test if test.is_dir() else category
        raise WTFlowError(
            f"{test}: no directories in it, {there.name} has {listing(there)}: put test images in "
            "test/good and test/DEFECT"
        )
    return found


categories = partial(
    categories_in, is_category=has_split, looks="CATEGORY/train/good and CATEGORY/test"
)

LAYOUTS.add("mvtec_ad")(
    Layout(
        "MVTec AD",
        "Bergmann et al., IJCV 2021",
        categories,
        read,
        {
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
        },
    )
)
LAYOUTS.add("mpdd")(
    Layout(
        "MPDD",
        "Jezek et al., ICUMT 2021",
        categories,
        read,
        {
            "bracket_black": Counts(289, 32, 47),
            "bracket_brown": Counts(185, 26, 51),
            "bracket_white": Counts(110, 30, 30),
            "connector": Counts(128, 30, 14),
            "metal_plate": Counts(54, 26, 71),
            "tubes": Counts(122, 32, 69),
        },
    )
)
LAYOUTS.add("mvtec_3d")(
    Layout(
        "MVTec 3D-AD",
        "Bergmann et al., VISAPP 2022",
        categories,
        read,
        {
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
        },
    )
)
