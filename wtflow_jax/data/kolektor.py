"""Reader for KolektorSDD: a directory an item, each image with a label map, no one-class split."""

import re
from pathlib import Path

from wtflow_jax.data.files import (
    by_stem,
    choose,
    directories,
    files,
    good,
    listing,
    require_directory,
    without_mask,
)
from wtflow_jax.data.images import read_labels
from wtflow_jax.data.sample import Category, Sample
from wtflow_jax.data.split import hold_out
from wtflow_jax.support.errors import WTFlowError

NAME = "kolektor_sdd"
DEFECT = "defect"
LABEL = "_label"
LAYOUT = "kosNN/PartN.jpg and kosNN/PartN_label.bmp"

TWINS = frozenset({"kos01", "kos26", "kos27", "kos34"})
"""Items published twice: kos01 is kos26, kos27 is kos34."""


def categories(root: Path) -> tuple[str, ...]:
    """The one category of this data set.

    Args:
        root: the directory that holds ``kos01`` to ``kos50``.

    Returns:
        ``("kolektor_sdd",)``.

    Raises:
        WTFlowError: no such directory, or no such item in it.
    """
    require_directory(root, LAYOUT)
    if not _items(root):
        raise WTFlowError(
            f"{root}: no kosNN, found {listing(root)}: give the directory that holds {LAYOUT}"
        )
    return (NAME,)


def open_category(root: Path, name: str = NAME) -> Category:
    """Lists the images; every label map is opened, since a defect shows nowhere else.

    As many good images test as there are defective ones (``split.hold_out`` says which). kos01
    and kos26 are the same item, and so are kos27 and kos34: all their good images train, none
    tests, so that no good image is on both sides. Their defective images all test, as any: a
    defect that is there twice counts twice.

    Args:
        root: the directory that holds ``kos01`` to ``kos50``.
        name: ``kolektor_sdd``.

    Returns:
        Training and test samples; defective ones are of kind ``defect``.

    Raises:
        WTFlowError: as ``categories``; another name; an image without label map; a label map that
            cannot be decoded; no good images to train on.
    """
    choose(root, name, categories(root))
    passed: list[Path] = []
    failed: list[Sample] = []
    for item in _items(root):
        found = files(item)
        labels = by_stem(path for path in found if _is_label(path))
        for path in found:
            if _is_label(path):
                continue
            label = labels.get(f"{path.stem}{LABEL}")
            if label is None:
                raise without_mask(path, item / f"{path.stem}{LABEL}.bmp")
            if read_labels(label).any():
                failed.append(Sample(path, 1, DEFECT, (label,)))
            else:
                passed.append(path)
    twins = [path for path in passed if path.parent.name in TWINS]
    others = [path for path in passed if path.parent.name not in TWINS]
    train, held_out = hold_out(others, len(failed))
    if not train + twins:
        raise WTFlowError(
            f"{root}: no good images to train on, {len(failed)} defective and {len(passed)} good: "
            "unpack the data set again"
        )
    return Category(name, good(sorted(train + twins)), (*failed, *good(held_out)))


def _items(root: Path) -> list[Path]:
    return [path for path in directories(root) if re.fullmatch(r"kos[0-9]+", path.name)]


def _is_label(path: Path) -> bool:
    return path.stem.endswith(LABEL)
