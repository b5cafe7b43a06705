"""The data sets: a file each, which enters itself into the table ``LAYOUTS``."""

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
"""Before a layout's name: the data set as ``tfds.prepare`` has stored it."""


class Counts(NamedTuple):
    """Images of a category: good ones to train on, good and defective test ones, further good."""

    train: int
    test_good: int
    test_defective: int
    validation: int = 0


class Layout(NamedTuple):
    """A data set as published: where its images are, and how many there should be.

    Attributes:
        title: its name in print.
        source: who published it.
        categories: ``categories(root)`` of the data set's directory returns the names of its
            categories, sorted, at least one. It raises WTFlowError: no such directory, none in it,
            or a category in its place.
        read: ``read(root, name)`` lists the images of one of these, each kind sorted by file name;
            none is decoded. It raises WTFlowError: no images where some should be, a defective one
            without mask (but in ``folder``), or it is not known which mask is whose.
        published: the images of each category; empty where nothing is published.
    """

    title: str
    source: str
    categories: Callable[[Path], tuple[str, ...]]
    read: Callable[[Path, str], Category]
    published: Mapping[str, Counts] = {}


LAYOUTS: Parts[Layout] = Parts("data", __name__)
"""By the name that a user gives."""


def published(layout: str) -> dict[str, Counts]:
    """Return the images of each category of a data set, as ``published.csv`` has them."""
    with Path(__file__).with_name("published.csv").open(newline="") as file:
        rows = [row for row in csv.reader(file) if row[0] == layout]
    return {name: Counts(*map(int, counts)) for _, name, *counts in rows}


def places(directory: Path) -> Iterator[tuple[str, Path, tuple[str, ...]]]:
    """Yield the published layouts that a directory may be of: name, root, and categories there.

    The directory is the root, which may have several, or a category in it.
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

    ``layout`` is a key of ``LAYOUTS``, alone or after ``tfds:``. WTFlowError: no such layout, or
    the directory is not laid out so.
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
