"""A user's own directory of images.

Good images are anywhere in ``good``, or in the root itself if no directory contains images. A fifth
of them is held out for testing (at least one, but never the only one; see ``files.hold_out``), the
others are for training. Every other directory with images is a kind of defect. ``masks/DEFECT`` may
hold masks at the same relative paths, with or without ``_mask`` after the name, as PNG, BMP or
TIFF. Masks are optional.
"""

import contextlib
from pathlib import Path

from wtflow_jax.data import files
from wtflow_jax.data.layouts import LAYOUTS, OWN, Layout, places
from wtflow_jax.data.sample import Category, Sample
from wtflow_jax.support.errors import WTFlowError

MASKS = "masks"


def categories(root: Path) -> tuple[str, ...]:
    """Return the directory's name: it is the only category."""
    files.require_directory(root, "good, and DEFECT for defective images; or good images alone")
    return (root.resolve().name,)


def read(root: Path, name: str) -> Category:
    """List the images; WTFlowError for misleading names, and for misplaced images or masks."""
    if files.has_split(root):
        raise WTFlowError(
            f"{root}: has train or test in it, which are not kinds of defects: {_published(root)}"
            "rename them"
        )
    _check_names(root)
    defects = {
        directory.name: paths
        for directory in files.directories(root)
        if directory.name not in (files.GOOD, MASKS) and (paths := _sorted(directory))
    }
    for loose in files.images(root / MASKS):
        raise WTFlowError(
            f"{loose}: a mask outside a kind of defect: put it in {loose.parent / 'KIND'}"
        )
    for directory in files.directories(root / MASKS):
        if directory.name not in defects:
            raise WTFlowError(
                f"{directory}: masks of no kind of defect, found {files.listing(root)}: "
                "name it like the directory of their images"
            )
    found = _sorted(root / files.GOOD)
    loose = files.images(root)
    if not found and not defects:
        found, loose = loose, []
    if not found:
        raise WTFlowError(
            f"{root}: no good images, found {files.listing(root)}: {_published(root)}"
            f"put them in {root / files.GOOD}"
        )
    for path in loose:
        raise WTFlowError(
            f"{path}: beside directories of images: put it in {files.GOOD} or a kind's directory"
        )
    train, held_out = files.hold_out(found, min(max(1, len(found) // 5), len(found) - 1))
    test = list(files.good(held_out))
    for kind, paths in defects.items():
        test += _defective(root, kind, paths)
    test.sort(key=lambda sample: sample.kind)
    return Category(name, files.good(train), tuple(test))


def _published(root: Path) -> str:
    """Return, for messages, the flags of a published data set that a directory matches, if any."""
    for name, parent, (category, *_) in places(root):
        with contextlib.suppress(WTFlowError):
            LAYOUTS[name].read(parent, category)
            return f"give {parent.absolute()} with --data {name} --category {category}; or "
    return ""


def _defective(root: Path, kind: str, paths: list[Path]) -> list[Sample]:
    known = files.by_name(paths, root / kind)
    for key, path in known.items():
        if f"{key}_mask" in known:
            mask = known[f"{key}_mask"]
            raise WTFlowError(f"{mask}: the mask of {path}, by its name: put it in {MASKS}/{kind}")
    masks = files.by_name(_sorted(root / MASKS / kind), root / MASKS / kind)
    if not masks:
        return [Sample(path, 1, kind) for path in paths]
    samples: list[Sample] = []
    for key, path in known.items():
        found = [masks.pop(name) for name in (key, f"{key}_mask") if name in masks]
        if len(found) > 1:
            raise WTFlowError(f"{path}: both {found[0]} and {found[1]} are its mask: remove one")
        samples.append(Sample(path, 1, kind, tuple(found)))
    for mask in masks.values():
        raise WTFlowError(
            f"{mask}: a mask of no image in {root / kind}, where upper and lower case differ: "
            "name it as its image, with or without _mask after the name, or remove it"
        )
    return samples


def _check_names(root: Path) -> None:
    """Raise WTFlowError if Good, MASKS or ground_truth would be a kind of defect."""
    for directory in files.directories(root):
        name = directory.name.lower()
        name = MASKS if name in files.MASKS else name
        if name in (files.GOOD, MASKS) and name != directory.name:
            raise WTFlowError(f"{directory}: would be a kind of defect: name it {name}")


def _sorted(directory: Path) -> list[Path]:
    """Return the images in a directory and below, by relative path; empty if it is missing."""
    return sorted(files.nested(directory), key=lambda path: path.relative_to(directory).as_posix())


LAYOUTS.add(OWN)(Layout(OWN, "your own", categories, read))
