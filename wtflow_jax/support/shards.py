"""Arrays larger than memory: shards on disk (array_record), prefetched by grain."""

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

from wtflow_jax.support.console import Advance
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.files import alone, replacing, write_json

INDEX = "shards.json"
PREFETCH = 16
"""Batches to prefetch."""

Maps = Float[np.ndarray, "_ h w c"]


class Shards:
    """Feature maps in array_record files of a directory, one per record; ``flow.types.Stored``."""

    def __init__(self, directory: Path) -> None:
        """Open the shards of ``write``; WTFlowError if one is missing or damaged."""
        self.directory = directory
        try:
            index = json.loads((directory / INDEX).read_bytes())
            self.shape, self.digest = tuple(index["shape"]), index["digest"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WTFlowError(f"{directory / INDEX}: not an index of shards; delete it") from error
        self._source = _open(directory, sorted(directory.glob("*.array_record")))
        if (count := len(self._source)) != self.shape[0]:
            raise WTFlowError(
                f"{directory}: has {count} of {self.shape[0]} maps, a shard is missing; "
                f"delete {INDEX} in it"
            )

    def read(self, index: Int[np.ndarray, " k"]) -> Maps:
        """Return the maps at an index, float32 (k, h, w, c); WTFlowError if a shard is damaged."""
        with _damage_told(self.directory):
            records = [self._source[int(i)] for i in index]
            return np.stack([np.frombuffer(r, np.float32).reshape(self.shape[1:]) for r in records])

    def batches(self, order: Int[np.ndarray, "steps b"]) -> Iterator[Maps]:
        """Yield a batch of maps for each row of ``order``, prefetched in threads."""
        threads = min(os.cpu_count() or 1, PREFETCH)
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=PREFETCH)
        return iter(grain.MapDataset.source(list(order)).map(self.read).to_iter_dataset(options))


def write(
    directory: Path,
    shape: tuple[int, int, int],
    shards: Iterable[Iterable[Maps]],
    advance: Advance = lambda *_: None,
) -> Shards:
    """Write the missing shards, and open all of them.

    The index is written last, so an interrupted call resumes at its unfinished shard: the maps of
    existing shards, (h, w, c) each, are not requested again. If another process is writing, this
    one waits for it. ``advance`` counts maps.

    Raises:
        WTFlowError: an existing shard is damaged.
    """
    with alone(directory, wait=True):
        if (directory / INDEX).is_file():
            stored = Shards(directory)
            advance(stored.shape[0])
            return stored
        count, digest = 0, hashlib.sha256()
        for number, maps in enumerate(shards):
            path = directory / f"{number:05d}.array_record"
            there = path.is_file()
            if not there:
                _record(path, maps, advance)
            source = _open(directory, [path])
            with _damage_told(directory):
                for i in range(len(source)):
                    digest.update(source[i])
            count += len(source)
            advance(len(source) if there else 0)
        write_json(directory / INDEX, {"shape": [count, *shape], "digest": digest.hexdigest()})
    return Shards(directory)


def _record(path: Path, maps: Iterable[Maps], advance: Advance) -> None:
    with (
        replacing(path) as part,
        contextlib.closing(ArrayRecordWriter(os.fspath(part), "group_size:1")) as writer,
    ):
        for batch in maps:
            for one in np.asarray(batch, np.float32):
                writer.write(one.tobytes())
            advance(len(batch))


def _open(directory: Path, paths: list[Path]) -> Any:
    with _damage_told(directory):
        return grain.sources.ArrayRecordDataSource([os.fspath(path) for path in paths])


@contextlib.contextmanager
def _damage_told(directory: Path) -> Iterator[None]:
    try:
        yield
    # ValueError: a record of another size than a map.
    except (RuntimeError, ValueError) as error:
        raise WTFlowError(f"{directory}: a shard is damaged; delete the directory") from error
