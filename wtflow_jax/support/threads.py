"""Work that is done a little ahead of being asked for: decoding beside the backbone."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TypeVar

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
    worked on when it is asked for.
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
