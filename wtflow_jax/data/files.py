"""What the readers share: listing directories, and pairing images with masks."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from wtflow_jax.data.sample import Sample
from wtflow_jax.support.errors import WTFlowError

GOOD = "good"
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


def categories_in(root: Path, is_category: Callable[[Path], bool], layout: str) -> tuple[str, ...]:
    """Names of the directories that are categories; others are left out.

    Args:
        root: the directory that holds one directory a category.
        is_category: tells it from a directory's contents.
        layout: what a category looks like, for messages.

    Returns:
        Sorted names, at least one.

    Raises:
        WTFlowError: no such directory, no category in it, or it is itself a category.
    """
    require_directory(root, layout)
    if is_category(root):
        raise WTFlowError(
            f"{root}: this is a category itself: give its parent directory "
            f"{root.resolve().parent}, category {root.resolve().name}"
        )
    names = tuple(directory.name for directory in directories(root) if is_category(directory))
    if not names:
        raise WTFlowError(
            f"{root}: no category in it, found {listing(root)}: "
            f"give the directory that holds {layout}"
        )
    return names


def choose(root: Path, name: str, known: tuple[str, ...]) -> Path:
    """The directory of a category.

    Raises:
        WTFlowError: it is none of those known.
    """
    category = root / name
    if name not in known:
        found = "not laid out as a category" if category.is_dir() else "no such category"
        raise WTFlowError(f"{category}: {found}: choose one of {', '.join(known)}")
    return category


def has_split(directory: Path) -> bool:
    """Whether there is a directory ``train`` or ``test`` in it."""
    # os.path says False where Path.is_dir raises: in a directory that may not be entered, such
    # as the lost+found of a disk.
    return any(os.path.isdir(directory / split) for split in ("train", "test"))


def kinds(category: Path) -> tuple[Path, ...]:
    """The directories in a category's ``test``.

    Raises:
        WTFlowError: there is none.
    """
    directory = category / "test"
    if not directory.is_dir():
        raise WTFlowError(
            f"{directory}: no such directory, {category.name} has {listing(category)}: "
            "put test images in test/good and test/DEFECT"
        )
    found = directories(directory)
    if not found:
        raise WTFlowError(
            f"{directory}: no directories in it, found {listing(directory)}: "
            "put test images in test/good and test/DEFECT"
        )
    return found


def good(paths: Iterable[Path]) -> tuple[Sample, ...]:
    """Samples of good images."""
    return tuple(Sample(path, 0, GOOD) for path in paths)


def defective(
    paths: Iterable[Path],
    kind: str,
    masks: Path,
    suffix: str = "",
    endings: frozenset[str] = EXTENSIONS,
) -> list[Sample]:
    """Samples of defective images, each with the mask of its name.

    Args:
        paths: the images.
        kind: the defect.
        masks: the masks' directory; extensions may differ from the images'.
        suffix: what a mask's name has after the image's.
        endings: extensions of masks.

    Raises:
        WTFlowError: an image without mask; two images or two masks of one name.
    """
    known = by_stem(files(masks, endings))
    samples: list[Sample] = []
    for path in by_stem(paths).values():
        mask = known.get(path.stem + suffix)
        if mask is None:
            raise without_mask(path, masks / f"{path.stem}{suffix}.png")
        samples.append(Sample(path, 1, kind, (mask,)))
    return samples


def without_mask(path: Path, mask: Path) -> WTFlowError:
    """The error for a defective image that lacks its mask."""
    return WTFlowError(f"{path}: a defective image without mask: add {mask} or remove the image")


def by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """Files by their names without extension.

    Raises:
        WTFlowError: two have the same, so that it does not say which mask is whose.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if (other := found.setdefault(path.stem, path)) != path:
            raise two_of_a_name(other, path)
    return found


def two_of_a_name(first: Path, second: Path) -> WTFlowError:
    """The error for files that differ by their extensions alone."""
    return WTFlowError(
        f"{first}: {second} has the same name, and masks belong to images by their names: rename "
        "one of them, with its mask, or remove it"
    )


def images(directory: Path, what: str, endings: frozenset[str] = EXTENSIONS) -> list[Path]:
    """The image files of a directory.

    Raises:
        WTFlowError: there is none; ``what`` says of what kind.
    """
    found = files(directory, endings)
    if not found:
        there = listing(directory) if directory.is_dir() else "no such directory"
        raise WTFlowError(
            f"{directory}: no {what}, found {there}: put them there "
            f"({', '.join(sorted(ending[1:] for ending in endings))})"
        )
    return found


def files(directory: Path, endings: frozenset[str] = EXTENSIONS) -> list[Path]:
    """Image files by name; anything else, hidden files and Thumbs.db included, is passed over."""
    if not directory.is_dir():
        return []
    return [path for path in visible(directory) if is_image(path, endings)]


def walk(directory: Path, seen: set[str] | None = None) -> Iterator[Path]:
    """A directory and then those below it, by name; hidden ones left out.

    Args:
        directory: where links lead to directories again, each of them is entered once.
        seen: real paths of those that were.
    """
    seen = set() if seen is None else seen
    real = os.path.realpath(directory)
    if real in seen:
        return
    seen.add(real)
    yield directory
    for inner in directories(directory):
        yield from walk(inner, seen)


def nested(directory: Path) -> Iterator[Path]:
    """Images of a directory and then those below it, by name; hidden ones left out."""
    for inner in walk(directory):
        yield from files(inner)


def is_image(path: Path, endings: frozenset[str] = EXTENSIONS) -> bool:
    """Whether a file is one, by the end of its name; a link to nothing is, to be told of."""
    if path.suffix.lower() not in endings:
        return False
    return os.path.isfile(path) or (os.path.islink(path) and not os.path.isdir(path))


def directories(directory: Path) -> tuple[Path, ...]:
    """The directories in a directory by name, hidden ones left out."""
    return tuple(path for path in visible(directory) if path.is_dir())


def visible(directory: Path) -> list[Path]:
    """What is in a directory by name, hidden files left out.

    Raises:
        WTFlowError: it cannot be listed.
    """
    try:
        paths = [path for path in directory.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise WTFlowError(
            f"{directory}: cannot be listed ({error.strerror}): check its permissions"
        ) from error
    return sorted(paths, key=lambda path: path.name)


def listing(directory: Path, most: int = 5) -> str:
    """The first names in a directory, for messages."""
    names = [path.name for path in visible(directory)]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) + more) if names else "nothing"


def require_directory(root: Path, layout: str) -> None:
    """Passes where a data set's root is a directory.

    Raises:
        WTFlowError: it is a file, or nothing; ``layout`` says what is expected in it.
    """
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise WTFlowError(f"{root}: {found} there: give the data set's directory ({layout})")
