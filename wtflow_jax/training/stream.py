"""Feature sets larger than memory: shards on disk, read by grain ahead of the device."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import grain
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from jaxtyping import Float, Int

from wtflow_jax.support import untrusted
from wtflow_jax.support.atomic import replacing, sweep
from wtflow_jax.support.errors import WTFlowError

INDEX = "shards.json"
PREFETCH = 16
"""Batches read ahead."""

Maps = Float[np.ndarray, "n h w c"]


class Shards:
    """Feature maps in a directory of array_record files, one record a map.

    Attributes:
        directory: where they are.
        shape: (n, h, w, c).
        digest: SHA-256 of the maps, one after another.
    """

    def __init__(self, directory: Path) -> None:
        """Open what ``write`` has written.

        Raises:
            WTFlowError: a shard is missing or damaged, or the index cannot be read.
        """
        self.directory = directory
        try:
            index = untrusted.parse((directory / INDEX).read_bytes())
            n, h, w, c = (int(length) for length in index["shape"])
            self.shape = n, h, w, c
            self.digest = str(index["digest"])
            paths = [untrusted.inside(directory, name) for name in index["shards"]]
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise WTFlowError(f"{directory / INDEX}: is no index of shards; delete it") from error
        for path in paths:
            if not path.is_file():
                raise WTFlowError(f"{path}: is missing; delete {directory / INDEX}")
        with _damage_told(self.directory):
            self._source = grain.sources.ArrayRecordDataSource([os.fspath(path) for path in paths])

    def read(self, index: Int[np.ndarray, " k"]) -> Maps:
        """Return some maps, float32 (k, h, w, c).

        Raises:
            WTFlowError: a shard is damaged.
        """
        with _damage_told(self.directory):
            records = [self._source[int(i)] for i in index]
            return np.stack([np.frombuffer(r, np.float32).reshape(self.shape[1:]) for r in records])

    def batches(self, order: Int[np.ndarray, "steps b"]) -> Iterator[Maps]:
        """Return the maps of each row of an order, read ahead in threads."""
        rows = grain.MapDataset.source(list(order)).map(self.read)
        threads = min(os.cpu_count() or 1, PREFETCH)
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=PREFETCH)
        return iter(rows.to_iter_dataset(options))


def write(
    directory: Path, shape: tuple[int, int, int], shards: Iterable[tuple[str, Iterable[Maps]]]
) -> Shards:
    """Write the shards that are not there yet, and open them all.

    A shard appears complete or not at all, and the index last, so that what was interrupted goes on
    with the shard it was at.

    Args:
        directory: where they go.
        shape: (h, w, c) of a map.
        shards: file name and maps of each; the maps of one that is there are not asked for.

    Raises:
        WTFlowError: a shard that is there is damaged.
    """
    index = directory / INDEX
    if index.is_file():
        return Shards(directory)
    sweep(directory)
    names, count, digest = [], 0, hashlib.sha256()
    for name, maps in shards:
        path = directory / name
        if not path.is_file():
            with replacing(path) as part:
                _record(part, maps)
        with _damage_told(directory):
            source: Any = grain.sources.ArrayRecordDataSource([os.fspath(path)])
            for i in range(len(source)):
                digest.update(source[i])
        names.append(name)
        count += len(source)
    with replacing(index) as part:
        entry = {"shape": [count, *shape], "shards": names, "digest": digest.hexdigest()}
        part.write_text(json.dumps(entry))
    return Shards(directory)


def _record(path: Path, maps: Iterable[Maps]) -> None:
    writer = ArrayRecordWriter(os.fspath(path), "group_size:1")
    try:
        for batch in maps:
            for one in np.asarray(batch, np.float32):
                writer.write(one.tobytes())
    finally:
        writer.close()


@contextlib.contextmanager
def _damage_told(directory: Path) -> Iterator[None]:
    try:
        yield
    # ValueError: a record of another size than a map.
    except (RuntimeError, ValueError) as error:
        raise WTFlowError(f"{directory}: a shard is damaged; delete the directory") from error
