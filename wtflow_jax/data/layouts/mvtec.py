"""MVTec AD, MPDD, which is laid out alike, and MVTec 3D-AD, of which only RGB is read."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from wtflow_jax.data.files import (
    GOOD,
    categories_in,
    defective,
    directories,
    good,
    images,
    listing,
)
from wtflow_jax.data.layouts import LAYOUTS, Layout, published
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

    ``masked`` makes samples of a defect's directory and its images; ``folder`` is where in each of
    these directories the images are.
    """
    train = good(images(category / "train" / GOOD / folder, "training images"))
    tests = category / "test"
    kinds = directories(tests)
    if not kinds:
        there = tests if tests.is_dir() else category
        raise WTFlowError(
            f"{tests}: no directories in it, {there.name} has {listing(there)}: put test images in "
            "test/good and test/DEFECT"
        )
    test: list[Sample] = []
    for kind in kinds:
        paths = images(kind / folder, "test images")
        test += good(paths) if kind.name == GOOD else masked(kind, paths)
    validation = good(images(category / "validation" / GOOD / folder))
    return Category(category.name, train, tuple(test), validation)


categories = partial(categories_in, looks="CATEGORY/train/good and CATEGORY/test")
for _name, _title, _source in (
    ("mvtec_ad", "MVTec AD", "Bergmann et al., IJCV 2021"),
    ("mpdd", "MPDD", "Jezek et al., ICUMT 2021"),
    ("mvtec_3d", "MVTec 3D-AD", "Bergmann et al., VISAPP 2022"),
):
    LAYOUTS.add(_name)(Layout(_title, _source, categories, read, published(_name)))
