"""BTAD, whose masks have other extensions than its images."""

from functools import partial
from pathlib import Path

from wtflow_jax.data.files import categories_in, defective, good, has_split, images
from wtflow_jax.data.layouts import LAYOUTS, Counts, Layout
from wtflow_jax.data.sample import Category


def read(root: Path, name: str) -> Category:
    """List a category; defects are of one kind, ``ko``."""
    category = root / name
    train = good(images(category / "train" / "ok", "training images"))
    passed = good(images(category / "test" / "ok", "test images"))
    failed = images(category / "test" / "ko", "test images")
    masked = defective(failed, "ko", category / "ground_truth" / "ko")
    return Category(name, train, (*passed, *masked))


LAYOUTS.add("btad")(
    Layout(
        "BTAD",
        "Mishra et al., ISIE 2021",
        partial(
            categories_in,
            is_category=has_split,
            looks="CATEGORY/train/ok and CATEGORY/test/{ok,ko}",
        ),
        read,
        {
            "01": Counts(400, 21, 49),
            "02": Counts(399, 30, 200),
            "03": Counts(1000, 400, 41),
        },
    )
)
