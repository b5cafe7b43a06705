"""Arrays of any length through a function compiled for one batch size."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

ALONE = threading.RLock()
"""Lock of the thread whose batches run, for models that several threads use.

On a CPU jaxlib's batched LAPACK blocks a thread of XLA's pool while it waits for other threads of
the pool. On two cores, two programs at once can deadlock: seen when two threads fitted and scored a
mixture (jaxlib 0.10.2).
"""


def in_batches(
    function: Callable[[Any], tuple[Any, ...]], size: int, array: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return a function's results for all samples, (n, ...) each, on the host.

    The function gets ``size`` samples at a time of an array (n, ...), n at least 1. The last batch
    is padded with copies of its first sample: one shape, one trace.
    """
    found = []
    for first in range(0, len(array), size):
        batch = array[first : first + size]
        filled = np.concatenate([batch, np.repeat(batch[:1], size - len(batch), axis=0)])
        with ALONE:
            found.append([np.asarray(part)[: len(batch)] for part in function(filled)])
    return tuple(map(np.concatenate, zip(*found, strict=True)))
