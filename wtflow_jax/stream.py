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

from wtflow_jax.atomic import replacing
from wtflow_jax.errors import WTFlowError

INDEX = "shards.json"
PREFETCH = 16
"""Batches read ahead."""

Maps = Float[np.ndarray, "n h w c"]


class Shards:
    """Feature maps in a directory of array_record files, one record a map.

    Attributes:
        directory: where they are.
        shape: (n, h, w, c).
        digest: SHA-256 of the maps.
    """

    def __init__(self, directory: Path) -> None:
        """Open what ``write`` has written.

        Raises:
            WTFlowError: a shard is missing or damaged, or the index cannot be read.
        """
        self.directory = directory
        try:
            index = json.loads((directory / INDEX).read_text())
            self.shape: tuple[int, int, int, int] = tuple(index["shape"])
            self.digest: str = index["digest"]
            paths = [directory / name for name in index["shards"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WTFlowError(
                f"{directory / INDEX}: is no index of shards; delete {directory}"
            ) from error
        for path in paths:
            if not path.is_file():
                raise WTFlowError(f"{path}: is missing; delete {directory}")
        with self._damage_told():
            self._source = grain.sources.ArrayRecordDataSource([os.fspath(path) for path in paths])

    def __len__(self) -> int:
        """Return n."""
        return self.shape[0]

    def read(self, index: Int[np.ndarray, " k"]) -> Maps:
        """Return some maps, float32 (k, h, w, c).

        Raises:
            WTFlowError: a shard is damaged.
        """
        with self._damage_told():
            records = [self._source[int(i)] for i in index]
        return np.stack([np.frombuffer(r, np.float32).reshape(self.shape[1:]) for r in records])

    def batches(self, order: Int[np.ndarray, "steps b"]) -> Iterator[Maps]:
        """Return the maps of each row of an order, read ahead in threads."""
        rows = grain.MapDataset.source(list(order)).map(self.read)
        options = grain.ReadOptions(num_threads=os.cpu_count() or 1, prefetch_buffer_size=PREFETCH)
        return iter(rows.to_iter_dataset(options))

    @contextlib.contextmanager
    def _damage_told(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise WTFlowError(
                f"{self.directory}: a shard is damaged; delete the directory"
            ) from error


def write(directory: Path, shards: Iterable[tuple[str, Iterable[Maps]]]) -> Shards:
    """Write shards that are not there yet, and open them all.

    A shard appears complete or not at all, and the index last, so that what was interrupted goes on
    with the shard it was at.

    Args:
        directory: where they go.
        shards: file name and maps of each; the maps of one that is there are not asked for.
    """
    names, total, shape, digest = [], 0, (), hashlib.sha256()
    for name, maps in shards:
        path, count = directory / name, directory / f"{name}.json"
        if not (path.is_file() and count.is_file()):
            with replacing(path) as part:
                found = _record(part, maps)
            _write(count, found)
        entry = json.loads(count.read_text())
        names.append(name)
        total, shape = total + entry["count"], entry["shape"]
        digest.update(entry["digest"].encode())
    index = {"shape": [total, *shape], "shards": names, "digest": digest.hexdigest()}
    _write(directory / INDEX, index)
    return Shards(directory)


def _record(path: Path, maps: Iterable[Maps]) -> dict[str, Any]:
    """Write one shard; what the index says of it."""
    writer = ArrayRecordWriter(os.fspath(path), "group_size:1")
    count, shape, digest = 0, (), hashlib.sha256()
    try:
        for batch in maps:
            for one in np.asarray(batch, np.float32):
                record = one.tobytes()
                writer.write(record)
                digest.update(record)
                count, shape = count + 1, one.shape
    finally:
        writer.close()
    return {"count": count, "shape": shape, "digest": digest.hexdigest()}


def _write(path: Path, content: object) -> None:
    with replacing(path) as part:
        part.write_text(json.dumps(content))
