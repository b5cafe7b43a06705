"""Which positions of a grid lend their covariances to which: a 3×3 kernel, separable."""

from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int


class Neighbours(NamedTuple):
    """The neighbours of q positions of a grid; beyond an edge it is the position there."""

    needed: Int[np.ndarray, " u"]  #: positions among all, rows after one another
    own: Int[np.ndarray, " q"]  #: the q positions, among those needed
    of: Int[np.ndarray, "q 9"]  #: the neighbours of each, itself included, among those needed
    weights: Float[np.ndarray, " 9"]  #: add up to 1

    def blend(self, covariances: Float[Array, "u c c"], of: Int[Array, "9"]) -> Float[Array, "c c"]:
        """Return the weighted mean of the covariances of a row of ``of``."""
        # A sum of nine slices is one loop; a gather would copy all nine first.
        parts = [float(w) * covariances[i] for w, i in zip(self.weights, of, strict=True)]
        return reduce(add, parts)


def neighbours(grid: tuple[int, ...], near: float, spacing: int = 1) -> Neighbours:
    """Return the neighbours of every ``spacing``-th position of a grid (h, w).

    ``near`` is the weight of the next position on each side along an axis: the kernel is the outer
    product of (near, 1 − 2·near, near) with itself.
    """
    h, w = grid
    chosen = np.arange(0, h * w, spacing)
    rows, columns = np.divmod(chosen, w)
    steps = np.arange(-1, 2)
    row = np.clip(rows[:, None] + steps, 0, h - 1)
    column = np.clip(columns[:, None] + steps, 0, w - 1)
    around = (row[:, :, None] * w + column[:, None, :]).reshape(len(chosen), 9)
    needed, index = np.unique(around, return_inverse=True)
    along = np.array([near, 1 - 2 * near, near], np.float32)
    own = np.searchsorted(needed, chosen)
    return Neighbours(needed, own, index.reshape(around.shape), np.outer(along, along).ravel())
