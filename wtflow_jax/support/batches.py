"""Arrays of any length through a function of one shape."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


def in_batches(
    function: Callable[[Any], tuple[Any, ...]], size: int, array: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return a function's results on the host, put together from batches.

    One shape, one trace: the last batch is filled up with copies of its first sample.

    Args:
        function: of ``size`` samples, (size, ...), to arrays with as many each.
        size: of a batch.
        array: (n, ...), n at least 1.

    Returns:
        Its results for all samples, (n, ...) each.
    """
    return tuple(np.concatenate(parts) for parts in zip(*_each(function, size, array), strict=True))


def _each(
    function: Callable[[Any], tuple[Any, ...]], size: int, array: np.ndarray
) -> Iterator[tuple[np.ndarray, ...]]:
    for first in range(0, len(array), size):
        batch = array[first : first + size]
        filled = np.concatenate([batch, np.repeat(batch[:1], size - len(batch), axis=0)])
        yield tuple(np.asarray(found)[: len(batch)] for found in function(filled))
