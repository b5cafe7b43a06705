"""What readers share: directories in order, images paired with their masks, a repeatable split."""

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
"""What directories of masks are called, in the published data sets and beside them."""
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


def has_split(directory: Path) -> bool:
    """Return whether there is a directory ``train`` or ``test`` in it."""
    # os.path says False where Path.is_dir raises: in the lost+found of a disk.
    return any(os.path.isdir(directory / split) for split in ("train", "test"))


def categories_in(
    root: Path, is_category: Callable[[Path], bool] = has_split, looks: str = ""
) -> tuple[str, ...]:
    """Return the names of the directories that are categories; others are left out.

    ``looks`` says what a category looks like, here and below for messages. WTFlowError: no such
    directory, no category in it, or it is itself a category.
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
    """Return the name of a data set's one category; WTFlowError where nothing matches a pattern."""
    require_directory(root, looks)
    return (name,) if any(root.glob(pattern)) else _nothing(pattern, root, looks)


def require_directory(root: Path, looks: str) -> None:
    """Raise WTFlowError where a data set's root is a file, or nothing."""
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
    """Return samples of defective images, each with the mask of its name in a directory.

    ``suffix`` is what a mask's name has after the image's, ``endings`` are extensions of masks.
    WTFlowError: an image without mask; two images or two masks of one name.
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
    """Return what an error says, or its type, as one line."""
    return " ".join((str(error) or type(error).__name__).split())


def damage(error: Exception) -> object:
    """Return what is wrong with a published table, of what reading it has raised."""
    found = f"no {error}" if isinstance(error, KeyError) else error
    return getattr(error, "strerror", None) or found


def by_name(paths: Iterable[Path], directory: Path | None = None) -> dict[str, Path]:
    """Return files by their names without extension; below a directory, by their paths in it."""
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
    """Return the image files of a directory by name, hidden ones left out.

    WTFlowError: there are none, and ``what`` says which should be there.
    """
    found = [path for path in visible(directory) if is_image(path, endings)]
    if what and not found:
        there = listing(directory) if directory.is_dir() else "no such directory"
        wanted = extensions(endings)
        raise WTFlowError(f"{directory}: no {what}, found {there}: put them there ({wanted})")
    return found


def extensions(endings: frozenset[str] = EXTENSIONS) -> str:
    """Return extensions for messages."""
    return ", ".join(sorted(ending[1:] for ending in endings))


def is_image(path: Path, endings: frozenset[str] = EXTENSIONS) -> bool:
    """Return whether a file is one, by the end of its name."""
    if path.suffix.lower() not in endings:
        return False
    # A link to nothing is one: to be told of when it is decoded.
    return os.path.isfile(path) or (os.path.islink(path) and not os.path.isdir(path))


def nested(directory: Path) -> Iterator[Path]:
    """Yield the images of a directory and then of those below, by name; hidden ones left out."""
    for inner in walk(directory):
        yield from images(inner)


def walk(directory: Path) -> Iterator[Path]:
    """Yield a directory and then those below it, by name; links in a circle are followed once."""
    seen, waiting = set[str](), [directory]
    while waiting:
        inner = waiting.pop()
        if (real := os.path.realpath(inner)) not in seen:
            seen.add(real)
            yield inner
            waiting += reversed(directories(inner))


def directories(directory: Path) -> tuple[Path, ...]:
    """Return the directories in a directory by name, hidden ones left out."""
    return tuple(path for path in visible(directory) if path.is_dir())


def visible(directory: Path) -> list[Path]:
    """Return what is in a directory by name, hidden files left out; nothing where there is none."""
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
    """Return items, and ``count`` that are set aside: both in the order given.

    Set aside are the first of ``numpy.random.RandomState(0).permutation``. Items are sorted by
    name, so that every machine draws the same.
    """
    # The legacy generator on purpose: NumPy has frozen its stream.
    order = np.random.RandomState(0).permutation(len(items)).tolist()
    return [items[i] for i in sorted(order[count:])], [items[i] for i in sorted(order[:count])]
