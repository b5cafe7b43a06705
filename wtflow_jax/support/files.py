"""Atomic writes of files, and locks: one run at a time writes to a directory.

Locks are filelock's: a killed process loses them.
"""

import contextlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from wtflow_jax.support.errors import WTFlowError

LOCK = ".lock"
"""Lock file in a directory that a run is writing to."""
PART = re.compile(r".+\.[0-9a-f]{32}\.part")
"""Name of a file that is being written."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the name of a temporary file, which becomes ``path`` once it is written.

    The directory is created. An existing file is replaced, or unchanged if writing fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield part
        # Before renaming: after a power cut the file is the old one or the new one.
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file atomically; values that JSON cannot hold are written as ``str(value)``."""
    with replacing(path) as part:
        part.write_text(json.dumps(value, indent=1, default=str))


@contextlib.contextmanager
def alone(directory: Path, *, wait: bool = False) -> Iterator[None]:
    """Lock a directory while this run writes; partial files of a killed run are removed.

    The directory is created if it does not exist, and removed again if nothing was written.
    WTFlowError: the directory is a file; or another run is writing there and ``wait`` is false.
    """
    if directory.exists() and not directory.is_dir():
        raise WTFlowError(f"{directory}: is a file; give a directory")
    made = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(directory / LOCK, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise WTFlowError(
            f"{directory}: another process is writing there; wait for it, or give another --out"
        ) from None
    try:
        for path in list(directory.rglob("*.part")):
            if PART.fullmatch(path.name):
                path.unlink(missing_ok=True)
        yield
    finally:
        # While the lock is held: a waiting filelock notices that its file was deleted.
        (directory / LOCK).unlink(missing_ok=True)
        lock.release()
        if made:
            with contextlib.suppress(OSError):
                directory.rmdir()


def written(directory: Path) -> set[Path]:
    """Return the files in a directory and below, without locks and partial files."""
    return {
        path
        for path in directory.rglob("*")
        if not path.is_dir() and path.name != LOCK and not PART.fullmatch(path.name)
    }


def check_empty(directory: Path, *unfinished: Path) -> None:
    """Raise WTFlowError if a directory contains files other than ``unfinished``."""
    if written(directory) - set(unfinished):
        raise WTFlowError(f"{directory}: is not empty; give another --out")
