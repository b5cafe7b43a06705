"""Arrays of any length through a function of one shape."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

ALONE = threading.RLock()
"""Held by the thread whose batches run, for models that several threads use.

On a CPU jaxlib's batched LAPACK keeps a thread of XLA's pool while it waits for others of the pool.
On two cores two programs at once can so wait for each other for ever: seen where two threads fitted
and scored a mixture (jaxlib 0.10.2).
"""


def in_batches(
    function: Callable[[Any], tuple[Any, ...]], size: int, array: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return a function's results for all samples, (n, ...) each, on the host.

    It takes ``size`` at a time of an array (n, ...), n at least 1. One shape, one trace: the last
    batch is filled up with copies of its first sample.
    """
    found = []
    for first in range(0, len(array), size):
        batch = array[first : first + size]
        filled = np.concatenate([batch, np.repeat(batch[:1], size - len(batch), axis=0)])
        with ALONE:
            found.append([np.asarray(part)[: len(batch)] for part in function(filled)])
    return tuple(map(np.concatenate, zip(*found, strict=True)))
