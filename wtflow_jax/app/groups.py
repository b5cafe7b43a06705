"""Which good images show one part: each part is scored by models of other parts."""

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
"""Values of --group; any other text is a regular expression."""
SIDE = 64
"""Rows and columns of the thumbnails compared; a shift of a few pixels is less than a cell."""
JET = (0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0)
"""Orders of the derivatives that approximate a shifted image."""
TOGETHER = 32
"""Images that are compared with all others at once."""
RATIO = 1 / 3
"""Distance within a group over distance to others, at most. For images of one part it was 1/4 or
less; for others 1/2 or more, except for a few pairs (docs/appendix/field.md)."""

Groups: TypeAlias = Int[np.ndarray, " n"]
"""The group number of each image, from 0 on, in order of first appearance."""


def numbered(names: Sequence[Hashable]) -> Groups:
    """Return groups of images with equal names."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], int)


def joined(one: Groups, other: Groups) -> Groups:
    """Return the union of two groupings: images linked by chains of either share a group."""
    # A graph of groups: each image is an edge between its two groups.
    edges = np.ones(len(one)), (one, one.max() + 1 + other)
    size = one.max() + other.max() + 2
    _, label = connected_components(coo_array(edges, (size, size)), directed=False)
    return numbered(label[one].tolist())


def named(files: Sequence[File], group: str) -> Groups:
    """Return groups by the names of files.

    Args:
        files: files of the images.
        group: ``folder``, the directory of a file; or a regular expression, searched for in each
            path: its first group, or the whole match, names the part.

    Raises:
        WTFlowError: the regular expression is invalid, or names no part of a path.
    """
    paths = [Path(str(file)) for file in files]
    if group == FOLDER:
        return numbered([path.parent for path in paths])
    pattern = expression(group)
    matches = [pattern.search(path.as_posix()) for path in paths]
    names = [match and match[min(1, pattern.groups)] for match in matches]
    if None in names:
        without = files[names.index(None)]
        raise WTFlowError(
            f"{without}: --group {group} names no part of this path; give an expression for all"
        )
    return numbered(names)


def expression(group: str) -> re.Pattern[str]:
    """Compile a regular expression; WTFlowError if it is invalid."""
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
    """Return distances between images, regardless of a small shift and of light.

    An image is fitted by a constant, another image and its derivatives ``JET``, all blurred by one
    cell: a second-order step of Lucas and Kanade (IJCAI 1981). The distance is the share, from 0 to
    1, of the image's deviation that is left; the smaller of both directions counts. Features do not
    work here: a shift of three pixels moves them as far as another part does.
    """
    n = len(thumbs)

    def blurred(thumb: Float[np.ndarray, "s s"], order: tuple[int, int]) -> np.ndarray:
        return ndimage.gaussian_filter(thumb, 1, order)  # pyright: ignore[reportArgumentType]

    jets = ([blurred(thumb, order) for order in JET] for thumb in thumbs)
    # Without the border, where the blur reaches outside of the image.
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
    """Groups of images that are much more similar to each other than to all others."""

    groups: Groups  #: each is taken for photographs of one part
    doubted: Groups  #: with groups as similar but too large: parts, or kinds of parts


def alike(thumbs: Float[np.ndarray, "n s s"], track: Track = untracked) -> Alike:
    """Group images that are much more similar to each other than to all others.

    It is single linkage with the ratio test of nearest neighbours (Lowe, IJCV 2004): links within a
    group are shorter than ``RATIO`` times the link to the nearest image outside. So there is no
    scale to choose, and images that fill a range, as of a part at all angles, form no group.

    A group of k images among n is taken for one part if k² < n. Larger groups are kinds, views or
    colours, which models must see together; they are doubted. A single large group with more than
    half of the images is not doubted: it holds the usual images.
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
        # Cut the tree at each node that is within no group.
        labels = hierarchy.fcluster(tree, 0, "monocrit", monocrit=~within[n:] * 1.0)
        return numbered(labels.tolist())

    groups, doubted = cut(is_near & (size**2 < n)), cut(is_near)
    large = [size for size in np.bincount(doubted).tolist() if size**2 >= n]
    is_usual = not large or (len(large) == 1 and 2 * large[0] > n)
    return Alike(groups, groups if is_usual else doubted)
