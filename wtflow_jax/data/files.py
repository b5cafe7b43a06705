"""Shared by all readers: sorted directories, images paired with masks, a reproducible split."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np

from wtflow_jax.data.sample import Sample
from wtflow_jax.support.errors import WTFlowError

Item = TypeVar("Item")

GOOD = "good"
MASKS = frozenset({"ground_truth", "groundtruth", "gt", "mask", "masks"})
"""Names of mask directories, in published data sets and elsewhere."""
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


def has_split(directory: Path) -> bool:
    """Return whether a directory contains a directory ``train`` or ``test``."""
    # os.path.isdir returns False where Path.is_dir raises: in the lost+found of a disk.
    return any(os.path.isdir(directory / split) for split in ("train", "test"))


def categories_in(
    root: Path, is_category: Callable[[Path], bool] = has_split, looks: str = ""
) -> tuple[str, ...]:
    """Return the names of the directories that are categories; others are left out.

    ``looks`` describes a category for messages, here and below. WTFlowError: the directory does not
    exist, contains no category, or is itself a category.
    """
    require_directory(root, looks)
    if is_category(root):
        whole = root.resolve()
        raise WTFlowError(
            f"{root}: this is a category itself: give its parent directory {whole.parent}, "
            f"category {whole.name}"
        )
    names = tuple(directory.name for directory in directories(root) if is_category(directory))
    return names or _nothing("category in it", root, looks)


def only(root: Path, name: str, pattern: str, looks: str) -> tuple[str, ...]:
    """Return the name of a data set's one category; WTFlowError if nothing matches a pattern."""
    require_directory(root, looks)
    return (name,) if any(root.glob(pattern)) else _nothing(pattern, root, looks)


def require_directory(root: Path, looks: str) -> None:
    """Raise WTFlowError if a data set's root is a file, or does not exist."""
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise WTFlowError(f"{root}: {found} there: give the data set's directory ({looks})")


def _nothing(what: str, root: Path, looks: str) -> NoReturn:
    found = listing(root)
    raise WTFlowError(f"{root}: no {what}, found {found}: give the directory that holds {looks}")


def good(paths: Iterable[Path]) -> tuple[Sample, ...]:
    """Return samples of good images."""
    return tuple(Sample(path, 0, GOOD) for path in paths)


def defective(
    paths: Iterable[Path],
    kind: str,
    masks: Path,
    suffix: str = "",
    endings: frozenset[str] = EXTENSIONS,
) -> list[Sample]:
    """Return samples of defective images, each with the mask of its name in ``masks``.

    A mask's name is the image's plus ``suffix``; ``endings`` are the extensions of masks.
    WTFlowError: an image has no mask; two images or two masks have the same name.
    """
    known = by_name(images(masks, endings=endings))
    samples: list[Sample] = []
    for stem, path in by_name(paths).items():
        if (mask := known.get(stem + suffix)) is None:
            raise without_mask(path, masks / f"{stem}{suffix}.png")
        samples.append(Sample(path, 1, kind, (mask,)))
    return samples


def without_mask(path: Path, mask: Path) -> WTFlowError:
    """Return the error for a defective image that lacks its mask."""
    return WTFlowError(f"{path}: a defective image without mask: add {mask} or remove the image")


def one_line(error: BaseException) -> str:
    """Return the text of an error as one line, or its type if it has no text."""
    return " ".join((str(error) or type(error).__name__).split())


def damage(error: Exception) -> object:
    """Return what is wrong with a published table, from the error that reading it raised."""
    found = f"no {error}" if isinstance(error, KeyError) else error
    return getattr(error, "strerror", None) or found


def by_name(paths: Iterable[Path], directory: Path | None = None) -> dict[str, Path]:
    """Return files by name without extension, or by path relative to ``directory`` if given.

    WTFlowError: two files have the same name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        name = path.relative_to(directory).with_suffix("").as_posix() if directory else path.stem
        if (other := found.setdefault(name, path)) != path:
            raise WTFlowError(
                f"{other}: {path} has the same name, and masks belong to images by their names: "
                "rename one of them, with its mask, or remove it"
            )
    return found


def images(directory: Path, what: str = "", endings: frozenset[str] = EXTENSIONS) -> list[Path]:
    """Return a directory's image files sorted by name, without hidden ones.

    WTFlowError: there are no images, but ``what`` names images that must be there.
    """
    found = [path for path in visible(directory) if is_image(path, endings)]
    if what and not found:
        there = listing(directory) if directory.is_dir() else "no such directory"
        wanted = extensions(endings)
        raise WTFlowError(f"{directory}: no {what}, found {there}: put them there ({wanted})")
    return found


def extensions(endings: frozenset[str] = EXTENSIONS) -> str:
    """Return file extensions as text for messages."""
    return ", ".join(sorted(ending[1:] for ending in endings))


def is_image(path: Path, endings: frozenset[str] = EXTENSIONS) -> bool:
    """Return whether a path is an image file, by its extension."""
    if path.suffix.lower() not in endings:
        return False
    # A broken link counts as an image: decoding reports it.
    return os.path.isfile(path) or (os.path.islink(path) and not os.path.isdir(path))


def nested(directory: Path) -> Iterator[Path]:
    """Yield a directory's images, then those below it, sorted by name, without hidden ones."""
    for inner in walk(directory):
        yield from images(inner)


def walk(directory: Path) -> Iterator[Path]:
    """Yield a directory, then its subdirectories at any depth, by name; each only once."""
    seen, waiting = set[str](), [directory]
    while waiting:
        inner = waiting.pop()
        if (real := os.path.realpath(inner)) not in seen:
            seen.add(real)
            yield inner
            waiting += reversed(directories(inner))


def directories(directory: Path) -> tuple[Path, ...]:
    """Return a directory's subdirectories sorted by name, without hidden ones."""
    return tuple(path for path in visible(directory) if path.is_dir())


def visible(directory: Path) -> list[Path]:
    """Return a directory's entries sorted by name, without hidden ones; empty if it is missing."""
    if not directory.is_dir():
        return []
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        reason = f"cannot be listed ({error.strerror}): check its permissions"
        raise WTFlowError(f"{directory}: {reason}") from error
    return [directory / name for name in names if not name.startswith(".")]


def listing(directory: Path) -> str:
    """Return the first five names in a directory, for messages."""
    names = [path.name for path in visible(directory)]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (", ".join(names[:5]) + more) if names else "nothing"


def hold_out(items: Sequence[Item], count: int) -> tuple[list[Item], list[Item]]:
    """Return the remaining items, and ``count`` held-out ones: both in the order given.

    Held out are the first ``count`` of ``numpy.random.RandomState(0).permutation``. Callers sort
    the items by name, so that every machine draws the same.
    """
    # The legacy generator on purpose: NumPy has frozen its stream.
    order = np.random.RandomState(0).permutation(len(items)).tolist()
    return [items[i] for i in sorted(order[count:])], [items[i] for i in sorted(order[:count])]
