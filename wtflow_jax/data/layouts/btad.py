"""BTAD, whose masks have other extensions than its images."""

from functools import partial
from pathlib import Path

from wtflow_jax.data.files import categories_in, defective, good, images
from wtflow_jax.data.layouts import LAYOUTS, Layout, published
from wtflow_jax.data.sample import Category


def read(root: Path, name: str) -> Category:
    """List a category; defects are of one kind, ``ko``."""
    category = root / name
    train = good(images(category / "train" / "ok", "training images"))
    passed = good(images(category / "test" / "ok", "test images"))
    failed = images(category / "test" / "ko", "test images")
    masked = defective(failed, "ko", category / "ground_truth" / "ko")
    return Category(name, train, (*passed, *masked))


categories = partial(categories_in, looks="CATEGORY/train/ok and CATEGORY/test/{ok,ko}")
LAYOUTS.add("btad")(Layout("BTAD", "Mishra et al., ISIE 2021", categories, read, published("btad")))
