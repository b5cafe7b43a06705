"""Readers for MVTec AD (and MPDD, laid out alike) and MVTec 3D-AD, of which only RGB is read."""

from pathlib import Path

from wtflow_jax.data.files import (
    GOOD,
    categories_in,
    choose,
    defective,
    files,
    good,
    has_split,
    images,
    kinds,
)
from wtflow_jax.data.sample import Category, Sample

LAYOUT = "CATEGORY/train/good and CATEGORY/test"


def categories(root: Path) -> tuple[str, ...]:
    """Names of the categories in a data set.

    Args:
        root: the directory that holds one directory a category.

    Returns:
        Sorted names of the directories with a layout known here; others are left out.

    Raises:
        WTFlowError: no such directory, no category in it, or it is itself a category.
    """
    return categories_in(root, has_split, LAYOUT)


def open_category(root: Path, name: str) -> Category:
    """Lists one category's images; no image is opened.

    The layout is told from the directories: MVTec 3D-AD keeps images in ``rgb``. The (empty)
    masks of its good images are not used.

    Args:
        root: the directory that holds one directory a category.
        name: the category.

    Returns:
        Training, test and validation samples, each kind sorted by file name.

    Raises:
        WTFlowError: as ``categories``; no such category; no training images; no test images; a
            defective image without mask.
    """
    category = choose(root, name, categories(root))
    folder = "rgb" if _is_3d(category) else ""
    train = good(images(category / "train" / GOOD / folder, "training images"))
    test: list[Sample] = []
    for kind in kinds(category):
        paths = images(kind / folder, "test images")
        if kind.name == GOOD:
            test += good(paths)
        elif folder:
            test += defective(paths, kind.name, kind / "gt")
        else:
            masks = category / "ground_truth" / kind.name
            test += defective(paths, kind.name, masks, suffix="_mask")
    validation = good(files(category / "validation" / GOOD / folder))
    return Category(name, train, tuple(test), validation)


def _is_3d(category: Path) -> bool:
    return any(category.glob("train/good/rgb")) or any(category.glob("test/*/rgb"))
