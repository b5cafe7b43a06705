"""Arrays of any length through a function of one shape."""

import time
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from wtflow_jax.support.batches import in_batches


@pytest.mark.parametrize("n", [1, 4, 9])
def test_results_are_those_of_all_at_once_by_one_trace(n):
    traces = []

    @jax.jit
    def function(batch):
        traces.append(batch.shape)
        return 2 * batch, batch.sum(1)

    x = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    twice, sums = in_batches(function, 4, x)
    np.testing.assert_array_equal(twice, 2 * x)
    np.testing.assert_allclose(sums, x.sum(1), rtol=1e-6)
    assert traces == [(4, 3)]
    assert all(isinstance(part, np.ndarray) for part in (twice, sums))


def test_threads_take_turns():
    """Two programs at once can deadlock (``batches.ALONE``)."""
    within, seen = [], []

    def function(batch):
        within.append(1)
        seen.append(len(within))
        time.sleep(0.002)
        within.pop()
        return (batch,)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: in_batches(function, 2, np.full(10, i)), range(8)))
    assert seen == [1] * 40
