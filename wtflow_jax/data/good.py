"""Selects the good images of a directory: a data set's training images, and no masks."""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wtflow_jax.data import files, sources
from wtflow_jax.data.layouts import LAYOUTS, places
from wtflow_jax.data.sample import File
from wtflow_jax.support.errors import WTFlowError, WTFlowWarning

BAD = frozenset({"bad", "ng", "nok", "defect", "defects", "defective", "anomaly", "abnormal"})
"""Names of directories of defective images, in upper or lower case."""
SPLITS = frozenset({"train", "training"}), frozenset({"test", "testing"})
MASK = re.compile(r".*[_-](mask|gt)[0-9]*|mask[_-].*")
BESIDE = re.compile(r"(.*)[_-](label|labels|seg)")
"""A mask's name, if an image beside it has the name in the first group."""


def find_good(source: Any, *, stdin: bool = False, bgr: bool = False) -> list[File]:
    """Return the good images of a source; arguments and errors as ``sources.find``.

    For a category of a published data set these are its training images. For a directory with
    ``good`` and other images, they are the images in ``good``. A ``WTFlowWarning`` reports both.

    Raises:
        WTFlowError: the data set has several categories; some images are masks or defective, by
            their names; two have the same name, so that one may be the other's mask.
    """
    found = list(sources.find(_meant(source), stdin=stdin, bgr=bgr))
    seen: dict[Path, Path] = {}
    paths = [path for path in found if isinstance(path, Path)]
    for path in paths:
        other = seen.setdefault(path.with_suffix(""), path)
        if other.suffix != path.suffix:
            raise WTFlowError(
                f"{path}: {other.name} beside it has the same name, and may be its mask: remove one"
            )
    # Directories that all images share do not distinguish them.
    common = set.intersection(*({*path.parents} for path in paths)) if paths else set()
    for path in paths:
        directories = {one.name.lower() for one in path.parents if one not in common}
        stem = path.stem.lower()
        rest = BESIDE.fullmatch(stem)
        is_beside = rest and path.with_name(path.stem[: len(rest[1])]) in seen
        what = None
        if directories & files.MASKS or MASK.fullmatch(stem) or is_beside:
            what = "a mask"
        elif directories & BAD:
            what = "a defective image"
        if what:
            raise WTFlowError(
                f"{path}: {what}, by its name, among {len(found)} images: give the directory of "
                "the good ones alone"
            )
    return found


def _meant(source: Any) -> Any:
    """Return a source, with some directories replaced by their training images."""
    if isinstance(source, list | tuple | set | frozenset | Iterator):
        return [_meant(one) for one in source]
    if not isinstance(source, str | Path) or not _is_directory(source):
        return source
    return _training(Path(source))


def _is_directory(source: str | Path) -> bool:
    try:
        return Path(source).is_dir()
    # The name is too long or has invalid characters: ``sources.find`` reports it.
    except (OSError, ValueError):
        return False


def _training(directory: Path) -> Any:
    """Return a directory, or its training images if it is a category or contains ``good``."""
    wrong: WTFlowError | None = None
    for name, root, (first, *others) in places(directory):
        title = LAYOUTS[name].title
        try:
            category = LAYOUTS[name].read(root, first)
        except WTFlowError as error:
            wrong = wrong or error
            continue
        if others:
            raise WTFlowError(
                f"{directory}: {title}, {len(others) + 1} categories: give one of them, for "
                f"instance {directory / first}"
            )
        paths = [sample.path for sample in category.train]
        count = len(category.test) + len(category.validation)
        _tell(f"{directory}: {title}: its {len(paths)} training images", f"{count} others, masks")
        return paths
    for inner in files.walk(directory):
        below = {one.name.lower(): one for one in files.directories(inner)}
        has_both = all(below.keys() & split for split in SPLITS)
        if (wrong and inner == directory) or has_both:
            reason = f" ({wrong})" if wrong else ""
            raise WTFlowError(
                f"{inner}: holds images to train on and to test{reason}; give the directory of "
                "the good ones alone"
            )
        if (good := below.pop(files.GOOD, None)) is None:
            continue
        left = [one.name for one in below.values() if next(files.nested(one), None)]
        left += [path.name for path in files.images(inner)]
        paths = list(files.nested(good))
        if not (left and paths):
            continue
        if inner != directory:
            raise WTFlowError(
                f"{good}: good images, and {left[0]} beside them: give the directories of the good "
                "ones alone"
            )
        _tell(f"{good}: its {len(paths)} images", ", ".join(left[:5]))
        return paths
    return directory


def _tell(what: str, left: str) -> None:
    warnings.warn(f"{what}; left out: {left}", WTFlowWarning, stacklevel=2)
