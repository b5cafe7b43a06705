"""Files that are there whole or not at all, and directories that one run at a time writes.

Locks are filelock's: whoever is killed loses them.
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
"""In a directory that a run is writing to."""
PART = re.compile(r".+\.[0-9a-f]{32}\.part")
"""Name of a file that is being written."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a new file, which becomes ``path`` once it is written.

    Its directory is made; a file of the name is replaced, or stays as it is where writing fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield part
        # Before it has the name: after a power cut the file is the old one or the new one.
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all; what JSON does not know is written as its text."""
    with replacing(path) as part:
        part.write_text(json.dumps(value, indent=1, default=str))


@contextlib.contextmanager
def alone(directory: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other runs out while this one writes; what a killed run left half-written is removed.

    The directory is made where it does not exist, and taken away again where nothing was written.
    WTFlowError: another run is writing there, unless it is waited for, or it is a file.
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
        # While it is held: filelock tells a file without a name from the one that has it.
        (directory / LOCK).unlink(missing_ok=True)
        lock.release()
        if made:
            with contextlib.suppress(OSError):
                directory.rmdir()


def written(directory: Path) -> set[Path]:
    """Return the files in a directory and below, but for its lock and what is half-written."""
    return {
        path
        for path in directory.rglob("*")
        if not path.is_dir() and path.name != LOCK and not PART.fullmatch(path.name)
    }


def check_empty(directory: Path, *unfinished: Path) -> None:
    """Raise WTFlowError where other files than ``unfinished`` are in a directory."""
    if written(directory) - set(unfinished):
        raise WTFlowError(f"{directory}: is not empty; give another --out")
