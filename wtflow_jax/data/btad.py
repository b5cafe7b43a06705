"""Reader for BTAD, whose masks have other extensions than its images."""

from pathlib import Path

from wtflow_jax.data.files import categories_in, choose, defective, good, has_split, images
from wtflow_jax.data.sample import Category

LAYOUT = "CATEGORY/train/ok and CATEGORY/test/{ok,ko}"


def categories(root: Path) -> tuple[str, ...]:
    """Names of the categories in a data set.

    Args:
        root: the directory that holds ``01``, ``02`` and ``03``.

    Returns:
        Sorted names of the directories laid out as BTAD is.

    Raises:
        WTFlowError: no such directory, no category in it, or it is itself a category.
    """
    return categories_in(root, has_split, LAYOUT)


def open_category(root: Path, name: str) -> Category:
    """Lists one category's images; no image is opened.

    Args:
        root: the directory that holds ``01``, ``02`` and ``03``.
        name: the category.

    Returns:
        Training and test samples; those of ``ko`` have that kind.

    Raises:
        WTFlowError: as ``categories``; no such category; no images; a defective one without mask.
    """
    category = choose(root, name, categories(root))
    train = good(images(category / "train" / "ok", "training images"))
    passed = good(images(category / "test" / "ok", "test images"))
    failed = images(category / "test" / "ko", "test images")
    return Category(
        name, train, (*passed, *defective(failed, "ko", category / "ground_truth" / "ko"))
    )
