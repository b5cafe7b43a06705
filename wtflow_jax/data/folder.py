"""Reader for a directory of images, as a user has it."""

from pathlib import Path

from wtflow_jax.data.files import (
    GOOD,
    choose,
    directories,
    files,
    good,
    listing,
    nested,
    require_directory,
    two_of_a_name,
)
from wtflow_jax.data.sample import Category, Sample
from wtflow_jax.data.split import hold_out
from wtflow_jax.support.errors import WTFlowError

MASKS = "masks"
LAYOUT = "good, and DEFECT for defective images; or good images alone"


def categories(root: Path) -> tuple[str, ...]:
    """The one category: the directory itself.

    Args:
        root: the directory that holds ``good``, or good images and nothing else.

    Returns:
        The directory's name alone.

    Raises:
        WTFlowError: no such directory.
    """
    require_directory(root, LAYOUT)
    return (root.resolve().name,)


def open_category(root: Path, name: str) -> Category:
    """Lists a directory's images; none is opened.

    Good images are anywhere in ``good``, or, where there is no directory with images, in the
    root itself. A fifth of them tests (at least one, but never the only one; ``split.hold_out``
    says which), the others train. Every other directory with images is a kind of defect.
    ``masks/DEFECT`` may hold masks at the same relative paths, with or without ``_mask`` after
    the name, as PNG, BMP or TIFF.

    Args:
        root: the directory.
        name: its name.

    Returns:
        Training and test samples; a defective one without mask has none.

    Raises:
        WTFlowError: no such directory; another name; no good images; masks of no kind of defect; it
            is not clear which mask is an image's.
    """
    choose(root, name, categories(root))
    defects = {
        directory.name: paths
        for directory in directories(root)
        if directory.name not in (GOOD, MASKS) and (paths := _nested(directory))
    }
    for directory in directories(root / MASKS) if (root / MASKS).is_dir() else ():
        if directory.name not in defects:
            raise WTFlowError(
                f"{directory}: masks of no kind of defect, there is {listing(root)}: "
                "name it as the directory of their images"
            )
    found = _nested(root / GOOD)
    if not found and not defects:
        found = files(root)
    if not found:
        raise WTFlowError(
            f"{root}: no good images, found {listing(root)}: put them in {root / GOOD}"
        )
    count = min(max(1, len(found) // 5), len(found) - 1)
    train, held_out = hold_out(found, count)
    test = list(good(held_out))
    for kind, paths in defects.items():
        test += _defective(root, kind, paths)
    test.sort(key=lambda sample: sample.kind)
    return Category(name, good(train), tuple(test))


def _defective(root: Path, kind: str, paths: list[Path]) -> list[Sample]:
    masks = _by_key(_nested(root / MASKS / kind), root / MASKS / kind)
    if not masks:
        return [Sample(path, 1, kind) for path in paths]
    samples: list[Sample] = []
    for key, path in _by_key(paths, root / kind).items():
        found = [masks[name] for name in (key, f"{key}_mask") if name in masks]
        if len(found) > 1:
            raise WTFlowError(f"{path}: both {found[0]} and {found[1]} are its mask: remove one")
        samples.append(Sample(path, 1, kind, tuple(found)))
    return samples


def _by_key(paths: list[Path], directory: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        key = path.relative_to(directory).with_suffix("").as_posix()
        if (other := found.setdefault(key, path)) != path:
            raise two_of_a_name(other, path)
    return found


def _nested(directory: Path) -> list[Path]:
    """The images in a directory and below, by relative path; none where it is missing."""
    if not directory.is_dir():
        return []
    return sorted(nested(directory), key=lambda path: path.relative_to(directory).as_posix())
