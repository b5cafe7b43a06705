"""MVTec AD; MPDD and BTAD, which differ in names only; MVTec 3D-AD, but only its RGB images."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from wtflow_jax.data import files
from wtflow_jax.data.layouts import LAYOUTS, Layout, published
from wtflow_jax.data.sample import Category, Sample
from wtflow_jax.support.errors import WTFlowError


def read(root: Path, name: str, kinds: tuple[str, ...] = (), suffix: str = "_mask") -> Category:
    """List a category; directories ``rgb`` identify MVTec 3D-AD (its good masks are empty).

    ``kinds`` as in ``by_kind``; a mask's name is the image's plus ``suffix``.
    """
    category = root / name
    is_3d = any(category.glob("train/good/rgb")) or any(category.glob("test/*/rgb"))

    def masked(kind: Path, paths: list[Path]) -> list[Sample]:
        if is_3d:
            return files.defective(paths, kind.name, kind / "gt")
        masks = category / "ground_truth" / kind.name
        return files.defective(paths, kind.name, masks, suffix)

    return by_kind(category, masked, "rgb" if is_3d else "", kinds)


def by_kind(
    category: Path,
    masked: Callable[[Path, list[Path]], list[Sample]],
    folder: str = "",
    kinds: tuple[str, ...] = (),
) -> Category:
    """List a category of ``train/good``, ``test/KIND`` and optionally ``validation/good``.

    ``masked`` makes samples from a defect's directory and its images. ``folder`` is the directory
    of the images in each of these. ``kinds`` are the directories of ``test``, the good one first;
    if empty, all that exist, with ``good`` as the good one.
    """
    passed = kinds[0] if kinds else files.GOOD
    train = files.good(files.images(category / "train" / passed / folder, "training images"))
    tests = category / "test"
    directories = [tests / kind for kind in kinds] or files.directories(tests)
    if not directories:
        there = tests if tests.is_dir() else category
        found = f"no directories in it, {there.name} has {files.listing(there)}"
        raise WTFlowError(f"{tests}: {found}: put test images in test/good and test/DEFECT")
    test: list[Sample] = []
    for kind in directories:
        paths = files.images(kind / folder, "test images")
        test += files.good(paths) if kind.name == passed else masked(kind, paths)
    validation = files.good(files.images(category / "validation" / passed / folder))
    return Category(category.name, train, tuple(test), validation)


_btad = partial(read, kinds=("ok", "ko"), suffix="")
for _name, _title, _source, _read, _good, _test in (
    ("mvtec_ad", "MVTec AD", "Bergmann et al., IJCV 2021", read, "good", "test"),
    ("mpdd", "MPDD", "Jezek et al., ICUMT 2021", read, "good", "test"),
    ("mvtec_3d", "MVTec 3D-AD", "Bergmann et al., VISAPP 2022", read, "good", "test"),
    ("btad", "BTAD", "Mishra et al., ISIE 2021", _btad, "ok", "test/{ok,ko}"),
):
    _looks = f"CATEGORY/train/{_good} and CATEGORY/{_test}"
    _categories = partial(files.categories_in, looks=_looks)
    LAYOUTS.add(_name)(Layout(_title, _source, _categories, _read, published(_name)))
