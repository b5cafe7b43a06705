"""Which good images are of one part: each is scored by models of other parts."""

import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from scipy import ndimage
from scipy.cluster import hierarchy
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from wtflow_jax.data.sample import File
from wtflow_jax.support.console import Track, untracked
from wtflow_jax.support.errors import WTFlowError

ALIKE, FOLDER, NONE = "alike", "folder", "none"
"""How parts are known, in words; anything else is a regular expression."""
SIDE = 64
"""Cells that images are compared by, each way: a shift of some pixels is less than one."""
JET = (0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0)
"""Orders of the derivatives that a moved image is made of."""
TOGETHER = 32
"""Images that all others are compared with at once."""
RATIO = 1 / 3
"""Of images of one part, whose distances were a quarter of those to other parts or less, and of
others, whose were a half or more but for a few pairs (docs/appendix/field.md)."""

Groups: TypeAlias = Int[np.ndarray, " n"]
"""Of each image the number of its group, from 0 on, in the order in which they first come."""


def numbered(names: Sequence[Hashable]) -> Groups:
    """Return groups of images whose names are the same."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], int)


def joined(one: Groups, other: Groups) -> Groups:
    """Return groups of what one or the other puts together, in however many steps."""
    # A graph of groups: an image is an edge between its two.
    edges = np.ones(len(one)), (one, one.max() + 1 + other)
    size = one.max() + other.max() + 2
    _, label = connected_components(coo_array(edges, (size, size)), directed=False)
    return numbered(label[one].tolist())


def named(files: Sequence[File], group: str) -> Groups:
    """Return groups by the names of files.

    Args:
        files: of the images.
        group: ``folder``, the directory a file is in; or a regular expression that is searched for
            in each path: its first group, or all that it matches, names the part.

    Raises:
        WTFlowError: it is no regular expression, or not in a path.
    """
    paths = [Path(str(file)) for file in files]
    if group == FOLDER:
        return numbered([path.parent for path in paths])
    pattern = expression(group)
    matches = [pattern.search(path.as_posix()) for path in paths]
    names = [match and match[min(1, pattern.groups)] for match in matches]
    if None in names:
        without = files[names.index(None)]
        raise WTFlowError(f"{without}: --group {group} is not in it; give what all have")
    return numbered(names)


def expression(group: str) -> re.Pattern[str]:
    """Return a regular expression, or raise WTFlowError where it is none."""
    try:
        return re.compile(group)
    except (re.error, OverflowError, RecursionError) as error:
        what = f"not a regular expression ({error}); give one, or {ALIKE}, {FOLDER} or {NONE}"
        raise WTFlowError(f"--group {group}: {what}") from error


def thumbnail(pixels: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "s s"]:
    """Return an image as ``SIDE`` × ``SIDE`` grey values, each the mean of its pixels."""
    grey = Image.fromarray(pixels).convert("L").convert("F")
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))


def distances(
    thumbs: Float[np.ndarray, "n s s"], track: Track = untracked
) -> Float[np.ndarray, "n n"]:
    """Return how far images are from being one another, moved a little and in another light.

    It is the share of an image's deviation, from 0 to 1, that is left when it is fitted by 1,
    another image and the derivatives ``JET`` of that, all blurred by one cell: a step of Lucas and
    Kanade (IJCAI 1981) of the second order. Of both directions it is the less. Features would not
    do: shifted by three pixels they move as far as from part to part.
    """
    n = len(thumbs)

    def blurred(thumb: Float[np.ndarray, "s s"], order: tuple[int, int]) -> np.ndarray:
        return ndimage.gaussian_filter(thumb, 1, order)  # pyright: ignore[reportArgumentType]

    jets = ([blurred(thumb, order) for order in JET] for thumb in thumbs)
    # Without the border, which is blurred with what is not there.
    jet = np.stack([np.stack(own, axis=-1)[3:-3, 3:-3].reshape(-1, len(JET)) for own in jets])
    centred = jet[..., 0] - jet[..., 0].mean(axis=1, keepdims=True)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
    found = np.empty((n, n), np.float32)
    advance = track("likeness", n)
    for first in range(0, n, TOGETHER):
        some = jet[first : first + TOGETHER]
        basis = np.linalg.qr(np.concatenate([np.ones_like(some[..., :1]), some], axis=-1)).Q
        along = centred @ np.concatenate([*basis], axis=1)
        explained = np.square(along).reshape(n, len(some), -1).sum(axis=-1)
        found[first : first + TOGETHER] = np.sqrt(np.maximum(1 - explained.T, 0))
        advance(len(some))
    return np.minimum(found, found.T)


class Alike(NamedTuple):
    """Images that are much nearer to one another than to all others."""

    groups: Groups  #: of images, taken for photographs of one part each
    doubted: Groups  #: with groups that are as near and too large: parts, or kinds of them


def alike(thumbs: Float[np.ndarray, "n s s"], track: Track = untracked) -> Alike:
    """Group images that are much nearer to one another than to all others.

    Each step on the shortest way through a group is less than ``RATIO`` of that to the nearest
    image outside: single linkage, and the ratio test of nearest neighbours (Lowe, IJCV 2004). So
    there is no scale to choose, and images that fill a range, as of a part turned every way, form
    no group.
    A group of k images among n is taken for a part where k² < n: few groups of many images are
    kinds, views or colours, which models must see together. Larger ones are doubted, but for a
    single one with more than half of the images: these are the usual ones, the others strange.
    """
    found = distances(thumbs, track)
    n = len(found)
    tree = hierarchy.linkage(squareform(found, checks=False), "single")
    children, height, size = tree[:, :2].astype(int), tree[:, 2], tree[:, 3]
    above = np.full(2 * n - 1, np.inf)
    above[children] = height[:, None]
    is_near = (height < RATIO * above[n:]) & (size < n)

    def cut(is_group: Bool[np.ndarray, " m"]) -> Groups:
        within = np.concatenate([np.zeros(n, bool), is_group])
        for row in reversed(range(n - 1)):
            within[children[row]] |= within[n + row]
        # Below each node that is within no group.
        labels = hierarchy.fcluster(tree, 0, "monocrit", monocrit=~within[n:] * 1.0)
        return numbered(labels.tolist())

    groups, doubted = cut(is_near & (size**2 < n)), cut(is_near)
    large = [size for size in np.bincount(doubted).tolist() if size**2 >= n]
    is_usual = not large or (len(large) == 1 and 2 * large[0] > n)
    return Alike(groups, groups if is_usual else doubted)
