"""Work that is done a little ahead of being asked for, and LAPACK that is kept to a thread."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TypeVar

from threadpoolctl import threadpool_limits

AHEAD = 16
"""Items taken before they are asked for."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    alone: Callable[[Item], bool] = lambda item: False,
) -> Iterator[Result]:
    """Call a function of each item in threads, ``AHEAD`` at a time; results come in order.

    What it raises is raised in its item's turn. An item that is too large for that, ``alone``, is
    worked on when it is asked for. Nothing of JAX belongs there: see ``batches.ALONE``.
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
    """Keep LAPACK to one thread: wait for results inside.

    JAX's is SciPy's, whose threads wait for one another in thousands of small eigenvalue problems:
    that takes up to four times as long, more where other programs run. The limit is the process's,
    and what it was before is put back.
    """
    # Loaded by JAX when it first calls it, which would be too late to be limited.
    import scipy.linalg  # noqa: F401

    with threadpool_limits(1, user_api="blas"):
        yield
