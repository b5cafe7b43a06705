"""Many categories one after another in one process: memory stays flat."""

import ctypes
from pathlib import Path

import pytest
import trees
from running import load

from wtflow_jax.lab import experiment


def resident():
    """The memory of this process in MiB, without free memory held by the allocator."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def maps():
    """The memory maps of this process, of which the kernel allows 65,530."""
    return len(Path("/proc/self/maps").read_text().splitlines())


@pytest.mark.long
def test_memory_is_flat_over_categories_of_different_sizes(tmp_path):
    """Programs compiled for one category's numbers of images are forgotten with it."""
    for i in range(6):
        trees.mvtec_ad(tmp_path / "data", f"part{i}", train=4 + i, good=2 + i, bad=3 + i)
    mvtec, found = load("mvtec"), []

    def measure(job):
        row = mvtec.measure(job)
        found.append((resident(), maps()))
        return row

    # The code digest of a row uses the unwrapped function.
    measure.__wrapped__ = mvtec.measure
    names = {"root": "data", "out": "out", "models": "models", "cache": "cache"}
    where = [str(part) for k, v in names.items() for part in (f"--{k}", tmp_path / v)]
    flags = ["--image-size", "64", "--velocity", "exact"]
    assert experiment.main(mvtec._replace(measure=measure), [*where, *flags]) == 0
    assert len(found) == 6
    (mebibytes, first), (at_last, last) = found[2], found[-1]
    assert at_last - mebibytes < 40
    assert last - first < 200
