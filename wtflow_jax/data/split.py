"""A repeatable split, for data sets that are published without one."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def hold_out(items: Sequence[Item], count: int) -> tuple[list[Item], list[Item]]:
    """Sets items aside: the first of ``numpy.random.RandomState(0).permutation``.

    Args:
        items: sorted by name, so that every machine draws the same.
        count: how many to set aside.

    Returns:
        The others and those set aside, both in the order given.
    """
    # The legacy generator on purpose: NumPy has frozen its stream.
    order = np.random.RandomState(0).permutation(len(items))
    aside = set(order[:count].tolist())
    kept = [item for i, item in enumerate(items) if i not in aside]
    return kept, [items[i] for i in sorted(aside)]
