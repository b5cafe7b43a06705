"""Files and directories that are there whole or not at all, and that one run at a time writes.

Locks are the kernel's (``flock``): whoever is killed loses them. Where a file system has none,
nothing is refused and nothing is taken for left behind.
"""

import contextlib
import ctypes
import fcntl
import glob
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

from wtflow_jax.support.errors import WTFlowError

LOCK = ".lock"
"""In a directory that a run is writing to."""
HOLDER = b"process "
"""What it begins with; who holds it follows."""
PART, OLD = ".part", ".old"
"""Ends of the names of what is being written, and of what it is about to replace."""
OURS = re.compile(r"(.+)\.[0-9a-f]{32}(\.part|\.old)")
"""Such a name, and nobody else's."""


def check_empty(directory: Path, *unfinished: Path) -> None:
    """Raise WTFlowError where something is in the way of a new directory.

    Args:
        directory: does not exist, or holds no files but what runs that were killed left.
        unfinished: files in it that such runs may have written.
    """
    if set(written(directory)) - set(unfinished):
        raise WTFlowError(f"{directory}: is not empty; give another --out")


def written(directory: Path) -> Iterator[Path]:
    """Yield the files of a directory and those below it, but for locks and what was half-written.

    Args:
        directory: any; one that does not exist has none.
    """
    for path in directory.rglob("*"):
        if not path.is_dir() and path.name != LOCK and not OURS.fullmatch(path.name):
            yield path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a file of this process's own, and call it ``path`` once it is written.

    Args:
        path: its directory is made; a file of the name is replaced, or stays as it is where writing
            fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PART}")
    # A sweep may be looking at it.
    descriptor = _locked(part, wait=True)
    try:
        yield part
        # Before it has the name: after a power cut the file is the old one or the new one.
        os.fsync(descriptor)
        os.replace(part, path)
    finally:
        os.close(descriptor)
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """Give an empty directory of this process's own, and call it ``path`` once it is filled.

    Args:
        path: a directory of the name is replaced, or stays as it is where filling fails; of a link
            the directory that it leads to.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, f"{path.name}.")
    name = f"{path.name}.{uuid.uuid4().hex}"
    part, old = path.with_name(f"{name}{PART}"), path.with_name(f"{name}{OLD}")
    part.mkdir()
    descriptor, replaced = os.open(part, os.O_RDONLY), False
    try:
        _lock(descriptor)
        yield part
        for file in part.rglob("*"):
            _sync(file)
        if not path.exists():
            os.replace(part, path)
        elif not _exchange(part, path):
            os.replace(path, old)
            os.replace(part, path)
        replaced = True
    finally:
        # Stopped between the two.
        if old.exists() and not path.exists():
            os.replace(old, path)
        os.close(descriptor)
        for left in (part, old) if replaced else (part,):
            shutil.rmtree(left, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Give two directories each other's name in one step; False where that is not to be had."""
    # Linux, and not on network file systems.
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    here, exchange = -100, 2
    return rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def sweep(directory: Path, prefix: str = "") -> None:
    """Remove what runs that were killed had begun to write, and put back what they had moved.

    Args:
        directory: what other runs are writing there is left alone.
        prefix: of the names that are meant; left out: all, in directories below too.
    """
    found = directory.glob(f"{glob.escape(prefix)}*") if prefix else directory.rglob("*")
    for path in list(found):
        ours = OURS.fullmatch(path.name)
        if ours is None:
            continue
        whole = path.with_name(ours[1])
        with _left(path) as left:
            if not left:
                continue
            if path.suffix == OLD and not whole.exists():
                os.replace(path, whole)
            elif path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def put_back(directory: Path) -> None:
    """Give a directory its name again that a killed process was about to replace."""
    if not directory.exists() and directory.parent.is_dir():
        sweep(directory.parent, f"{directory.name}.")


@contextlib.contextmanager
def alone(directory: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other runs out of a directory while this one writes there.

    Args:
        directory: made where it does not exist; taken away again where nothing was written.
        wait: for the other run to end, in place of an error.

    Raises:
        WTFlowError: another run is writing there, it is a file, or another program's lock is there.
    """
    if directory.exists() and not directory.is_dir():
        raise WTFlowError(f"{directory}: is a file; give a directory")
    put_back(directory)
    made = not directory.exists()
    path = directory / LOCK
    descriptor = _locked(path, wait)
    if os.pread(descriptor, len(HOLDER), 0) not in (b"", HOLDER):
        os.close(descriptor)
        raise WTFlowError(f"{path}: is another program's; give another --out")
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, HOLDER + f"{os.getpid()} of {socket.gethostname()}".encode(), 0)
        yield
    finally:
        # Unlinked while it is held: who waits finds that it is no longer the directory's.
        if _names(path, descriptor):
            path.unlink()
        os.close(descriptor)
        if made:
            with contextlib.suppress(OSError):
                directory.rmdir()


def _locked(path: Path, wait: bool) -> int:
    """Open and lock a file, which is made, and its directory, where it does not exist.

    Raises:
        WTFlowError: another process holds it.
    """
    while True:
        # Whoever was waited for may have taken away a directory in which nothing was written.
        path.parent.mkdir(parents=True, exist_ok=True)
        # Through no link: it would be another file that is written to.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        if not _lock(descriptor, wait):
            who = os.read(descriptor, 200).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise WTFlowError(
                f"{path.parent}: {who} is writing there; wait for it, or give another --out"
            )
        # Another may have unlinked or swept it before it was locked.
        if _names(path, descriptor):
            return descriptor
        os.close(descriptor)


def _names(path: Path, descriptor: int) -> bool:
    """Return whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(descriptor: int, wait: bool = False) -> bool:
    """Lock an open file; False where another process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks.
        return True
    return True


@contextlib.contextmanager
def _left(path: Path) -> Iterator[bool]:
    """Lock a file or directory, and tell whether that was possible: that nobody is writing it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
