"""The data sets: one file each, which adds its layout to the table ``LAYOUTS``."""

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from wtflow_jax.data.sample import Category
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.parts import Parts

OWN = "folder"
"""The layout of a user's own directory."""
PREPARED = "tfds:"
"""Prefix of a layout's name for the data set as ``tfds.prepare`` has stored it."""


class Counts(NamedTuple):
    """Numbers of a category's images: training, good test, defective test, good validation."""

    train: int
    test_good: int
    test_defective: int
    validation: int = 0


class Layout(NamedTuple):
    """A data set as published: the locations and the expected numbers of its images.

    Attributes:
        title: its name in print.
        source: who published it.
        categories: ``categories(root)`` returns the names of the categories in the data set's
            directory, sorted, at least one. It raises WTFlowError if the directory does not exist,
            contains no category, or is itself a category.
        read: ``read(root, name)`` lists a category's images, each kind sorted by file name, without
            decoding them. It raises WTFlowError if expected images are missing, if a defective
            image has no mask (except in ``folder``), or if masks cannot be matched to images.
        published: the counts of each category; empty if no counts are published.
    """

    title: str
    source: str
    categories: Callable[[Path], tuple[str, ...]]
    read: Callable[[Path, str], Category]
    published: Mapping[str, Counts] = {}


LAYOUTS: Parts[Layout] = Parts("data", __name__)
"""Layouts by the name that a user gives."""


def published(layout: str) -> dict[str, Counts]:
    """Return the published counts of each category of a data set, from ``published.csv``."""
    with Path(__file__).with_name("published.csv").open(newline="") as file:
        rows = [row for row in csv.reader(file) if row[0] == layout]
    return {name: Counts(*map(int, counts)) for _, name, *counts in rows}


def places(directory: Path) -> Iterator[tuple[str, Path, tuple[str, ...]]]:
    """Yield the published layouts that a directory matches: name, root, and categories.

    The directory is either the root, with one or more categories, or one category in it.
    """
    whole = directory.absolute()
    for name, layout in LAYOUTS.items():
        if name == OWN:
            continue
        for root in (directory, whole.parent):
            try:
                found = layout.categories(root)
            except WTFlowError:
                continue
            if root == directory:
                yield name, root, found
            elif whole.name in found:
                yield name, root, (whole.name,)
            break


def _find(name: str) -> Layout:
    if name.startswith(PREPARED):
        from wtflow_jax.data import tfds

        return tfds.prepared(name.removeprefix(PREPARED))
    return LAYOUTS.find(name)


def categories(root: Path, layout: str = "mvtec_ad") -> tuple[str, ...]:
    """Return the names of the categories in a data set's directory, see ``Layout``.

    ``layout`` is a key of ``LAYOUTS``, alone or after ``tfds:``. WTFlowError: the layout is
    unknown, or the directory does not match it.
    """
    return _find(layout).categories(root)


def open_category(root: Path, name: str, layout: str = "mvtec_ad") -> Category:
    """Return the images of a category, see ``Layout``; arguments and errors as ``categories``."""
    known = categories(root, layout)
    if name not in known:
        path = root / name
        found = "not laid out as a category" if path.is_dir() else "no such category"
        raise WTFlowError(f"{path}: {found}: choose one of {', '.join(known)}")
    return _find(layout).read(root, name)
