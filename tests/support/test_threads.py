"""Work that is done ahead: its order, its errors, and how far ahead it goes."""

import threading

import pytest

from wtflow_jax.support.threads import AHEAD, ahead


def test_results_come_in_order():
    assert list(ahead(lambda x: x * x, iter(range(100)))) == [x * x for x in range(100)]
    assert list(ahead(str, [])) == []


def test_an_error_is_raised_in_its_turn():
    run = ahead(lambda x: 1 / x, [1, 2, 0, 4])
    assert [next(run), next(run)] == [1, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(run)


def test_no_more_is_taken_than_is_worked_on():
    taken = []

    def items():
        for i in range(1000):
            taken.append(i)
            yield i

    run = ahead(lambda x: x, items())
    for _ in range(5):
        next(run)
    assert len(taken) <= AHEAD + 6
    run.close()


def test_what_is_too_large_is_worked_on_when_it_is_asked_for():
    where = []

    def work(item):
        where.append((item, threading.current_thread() is threading.main_thread()))
        return item

    assert list(ahead(work, [1, 20, 3], alone=lambda item: item > 9)) == [1, 20, 3]
    assert dict(where) == {1: False, 20: True, 3: False}
