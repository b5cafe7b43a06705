"""Prefetching in threads, and LAPACK limited to one thread."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TypeVar

from threadpoolctl import threadpool_limits

AHEAD = 16
"""Items to prefetch."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    alone: Callable[[Item], bool] = lambda item: False,
) -> Iterator[Result]:
    """Call a function of each item in threads, ``AHEAD`` in advance; results come in order.

    An exception is raised in its item's turn. An item for which ``alone`` is true, because it is
    large, is processed only in its turn. The function must not use JAX: see ``batches.ALONE``.
    """

    def work(item: Item) -> Callable[[], Result]:
        if alone(item):
            return partial(function, item)
        result = function(item)
        return lambda: result

    waiting = iter(items)
    with ThreadPoolExecutor() as pool:
        running = deque(pool.submit(work, item) for item in islice(waiting, AHEAD))
        while running:
            first = running.popleft()
            running.extend(pool.submit(work, item) for item in islice(waiting, 1))
            yield first.result()()


@contextmanager
def lapack_on_one_thread() -> Iterator[None]:
    """Limit LAPACK to one thread; wait for results inside.

    JAX uses SciPy's LAPACK, whose threads wait for one another in thousands of small eigenvalue
    problems: up to four times as long, longer if other programs run. The limit is that of the
    process; the previous one is restored.
    """
    # Loaded now: JAX loads it at its first call, too late for the limit.
    import scipy.linalg  # noqa: F401

    with threadpool_limits(1, user_api="blas"):
        yield
