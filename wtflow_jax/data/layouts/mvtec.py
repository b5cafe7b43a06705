"""MVTec AD, MPDD, which is laid out alike, and MVTec 3D-AD, of which only RGB is read."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from wtflow_jax.data import files
from wtflow_jax.data.layouts import LAYOUTS, Layout, published
from wtflow_jax.data.sample import Category, Sample
from wtflow_jax.support.errors import WTFlowError


def read(root: Path, name: str) -> Category:
    """List a category; MVTec 3D-AD is told by directories ``rgb`` (its good masks are empty)."""
    category = root / name
    is_3d = any(category.glob("train/good/rgb")) or any(category.glob("test/*/rgb"))

    def masked(kind: Path, paths: list[Path]) -> list[Sample]:
        if is_3d:
            return files.defective(paths, kind.name, kind / "gt")
        masks = category / "ground_truth" / kind.name
        return files.defective(paths, kind.name, masks, suffix="_mask")

    return by_kind(category, masked, "rgb" if is_3d else "")


def by_kind(
    category: Path, masked: Callable[[Path, list[Path]], list[Sample]], folder: str = ""
) -> Category:
    """List a category of ``train/good``, ``test/KIND`` and maybe ``validation/good``.

    ``masked`` makes samples of a defect's directory and its images; ``folder`` is where in each of
    these directories the images are.
    """
    train = files.good(files.images(category / "train" / files.GOOD / folder, "training images"))
    tests = category / "test"
    kinds = files.directories(tests)
    if not kinds:
        there = tests if tests.is_dir() else category
        found = f"no directories in it, {there.name} has {files.listing(there)}"
        raise WTFlowError(f"{tests}: {found}: put test images in test/good and test/DEFECT")
    test: list[Sample] = []
    for kind in kinds:
        paths = files.images(kind / folder, "test images")
        test += files.good(paths) if kind.name == files.GOOD else masked(kind, paths)
    validation = files.good(files.images(category / "validation" / files.GOOD / folder))
    return Category(category.name, train, tuple(test), validation)


categories = partial(files.categories_in, looks="CATEGORY/train/good and CATEGORY/test")
for _name, _title, _source in (
    ("mvtec_ad", "MVTec AD", "Bergmann et al., IJCV 2021"),
    ("mpdd", "MPDD", "Jezek et al., ICUMT 2021"),
    ("mvtec_3d", "MVTec 3D-AD", "Bergmann et al., VISAPP 2022"),
):
    LAYOUTS.add(_name)(Layout(_title, _source, categories, read, published(_name)))
