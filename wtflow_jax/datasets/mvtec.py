"""Readers for MVTec AD (and MPDD, laid out alike) and MVTec 3D-AD, of which only RGB is read."""

import os
from pathlib import Path

from wtflow_jax.datasets.sample import Category, Sample
from wtflow_jax.errors import WTFlowError

GOOD = "good"
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
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
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise WTFlowError(f"{root}: {found} there: give the data set's directory ({LAYOUT})")
    if _is_category(root):
        raise WTFlowError(
            f"{root}: this is a category itself: give its parent directory "
            f"{root.resolve().parent}, category {root.resolve().name}"
        )
    names = tuple(directory.name for directory in _directories(root) if _is_category(directory))
    if not names:
        raise WTFlowError(
            f"{root}: no category in it, found {_listing(root)}: "
            f"give the directory that holds {LAYOUT}"
        )
    return names


def open_category(root: Path, name: str) -> Category:
    """Lists one category's images; no image is opened.

    The layout is told from the directories: MVTec 3D-AD keeps images in ``rgb``. Its
    ``validation`` images and the (empty) masks of its good images are not used.

    Args:
        root: the directory that holds one directory a category.
        name: the category.

    Returns:
        Training and test samples, each kind sorted by file name.

    Raises:
        WTFlowError: as ``categories``; no such category; no training images; no test images; a
            defective image without mask.
    """
    known = categories(root)
    category = root / name
    if name not in known:
        found = "no train or test directory" if category.is_dir() else "no such category"
        raise WTFlowError(f"{category}: {found}: choose one of {', '.join(known)}")
    read = _read_3d if _is_3d(category) else _read_2d
    train, test = read(category)
    return Category(name, train, test)


def _is_category(directory: Path) -> bool:
    # os.path says False where Path.is_dir raises: in a directory that may not be entered, such
    # as the lost+found of a disk.
    return any(os.path.isdir(directory / split) for split in ("train", "test"))


def _is_3d(category: Path) -> bool:
    return any(category.glob("train/good/rgb")) or any(category.glob("test/*/rgb"))


def _read_2d(category: Path) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    train = _train(category / "train" / GOOD)
    test: list[Sample] = []
    for kind in _kinds(category):
        masks = category / "ground_truth" / kind.name
        test += _samples(kind, kind.name, masks, suffix="_mask")
    return train, tuple(test)


def _read_3d(category: Path) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    train = _train(category / "train" / GOOD / "rgb")
    test: list[Sample] = []
    for kind in _kinds(category):
        test += _samples(kind / "rgb", kind.name, kind / "gt", suffix="")
    return train, tuple(test)


def _train(directory: Path) -> tuple[Sample, ...]:
    return tuple(Sample(path, 0, GOOD) for path in _images(directory, "training images"))


def _kinds(category: Path) -> tuple[Path, ...]:
    directory = category / "test"
    if not directory.is_dir():
        raise WTFlowError(
            f"{directory}: no such directory, {category.name} has {_listing(category)}: "
            "put test images in test/good and test/DEFECT"
        )
    kinds = _directories(directory)
    if not kinds:
        raise WTFlowError(
            f"{directory}: no directories in it, found {_listing(directory)}: "
            "put test images in test/good and test/DEFECT"
        )
    return kinds


def _samples(directory: Path, kind: str, masks: Path, suffix: str) -> list[Sample]:
    images = _images(directory, "test images")
    if kind == GOOD:
        return [Sample(path, 0, kind) for path in images]
    by_stem = {path.stem: path for path in _files(masks)}
    samples: list[Sample] = []
    for path in images:
        mask = by_stem.get(path.stem + suffix)
        if mask is None:
            raise WTFlowError(
                f"{path}: a defective image without mask: "
                f"add {masks / (path.stem + suffix + '.png')} or remove the image"
            )
        samples.append(Sample(path, 1, kind, (mask,)))
    return samples


def _images(directory: Path, what: str) -> list[Path]:
    files = _files(directory)
    if not files:
        found = _listing(directory) if directory.is_dir() else "no such directory"
        raise WTFlowError(
            f"{directory}: no {what}, found {found}: put them there "
            f"({', '.join(sorted(extension[1:] for extension in EXTENSIONS))})"
        )
    return files


def _files(directory: Path) -> list[Path]:
    """Image files by name; anything else, hidden files and Thumbs.db included, is passed over."""
    if not directory.is_dir():
        return []
    return [
        path for path in _visible(directory) if path.suffix.lower() in EXTENSIONS and path.is_file()
    ]


def _directories(directory: Path) -> tuple[Path, ...]:
    return tuple(path for path in _visible(directory) if path.is_dir())


def _visible(directory: Path) -> list[Path]:
    try:
        paths = [path for path in directory.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise WTFlowError(
            f"{directory}: cannot be listed ({error.strerror}): check its permissions"
        ) from error
    return sorted(paths, key=lambda path: path.name)


def _listing(directory: Path, most: int = 5) -> str:
    names = [path.name for path in _visible(directory)]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) + more) if names else "nothing"
