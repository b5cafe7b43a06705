"""Which good images are meant by a directory: of a data set those that train, and no masks."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wtflow_jax.data import files, sources
from wtflow_jax.data.layouts import LAYOUTS, Layout
from wtflow_jax.data.sample import File
from wtflow_jax.support.errors import WTFlowError, WTFlowWarning

MASKS = frozenset({"ground_truth", "gt", "mask", "masks"})
"""Directories of masks, in the published data sets and beside them."""
ENDS = "_mask", "_label", "_gt"
"""Of a mask's name."""


def find_good(source: Any, *, stdin: bool = False, bgr: bool = False) -> list[File]:
    """Return the good images that are meant; arguments and errors as ``sources.find``.

    Of a directory that is a category of a published data set these are its training images, and
    where there is a directory ``good`` beside others, those in it; a ``WTFlowWarning`` says so.

    Raises:
        WTFlowError: a data set of several categories; masks among the images.
    """
    several = isinstance(source, list | tuple)
    chosen = [_training(one) for one in (source if several else [source])]
    found = list(sources.find(chosen if several else chosen[0], stdin=stdin, bgr=bgr))
    for path in found:
        if isinstance(path, Path) and (
            MASKS.intersection(path.parts) or path.stem.lower().endswith(ENDS)
        ):
            raise WTFlowError(
                f"{path}: a mask, by its name, among {len(found)} images: give the directory of "
                "the good ones alone"
            )
    return found


def _training(source: Any) -> Any:
    """Return what a source stands for: itself, or the images of a data set that train."""
    if not isinstance(source, str | Path) or not Path(source).is_dir():
        return source
    directory = Path(source)
    wrong: list[WTFlowError] = []
    for name, layout in LAYOUTS.items():
        at = _place(directory, layout) if name != "folder" else None
        if at is None:
            continue
        try:
            category = layout.read(*at)
        except WTFlowError as error:
            wrong.append(error)
            continue
        paths = [sample.path for sample in category.train]
        count = len(category.test) + len(category.validation)
        return _told(f"{directory}: {layout.title}", paths, f"{count} others and masks")
    if wrong:
        raise WTFlowError(
            f"{directory}: holds images to train on and to test ({wrong[0]}); give the directory "
            "of the good ones alone"
        )
    beside = [one for one in files.directories(directory) if one.name != files.GOOD]
    left = [one.name for one in beside if next(files.nested(one), None)]
    if left and (paths := list(files.nested(directory / files.GOOD))):
        return _told(str(directory / files.GOOD), paths, ", ".join(left[:5]))
    return source


def _place(directory: Path, layout: Layout) -> tuple[Path, str] | None:
    """Return the root and name of the category that a directory is, if it is one."""
    try:
        names = layout.categories(directory)
    except WTFlowError:
        pass
    else:
        first, *others = names
        if others:
            raise WTFlowError(
                f"{directory}: {layout.title}, {len(names)} categories: give one of them, for "
                f"instance {directory / first}"
            )
        return directory, first
    whole = directory.absolute()
    try:
        names = layout.categories(whole.parent)
    except WTFlowError:
        return None
    return (whole.parent, whole.name) if whole.name in names else None


def _told(what: str, paths: Sequence[File], left: str) -> Sequence[File]:
    line = f"{what}: its {len(paths)} training images; left out: {left}"
    warnings.warn(line, WTFlowWarning, stacklevel=2)
    return paths
