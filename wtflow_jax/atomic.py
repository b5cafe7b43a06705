"""Files and directories that are there whole or not at all."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from wtflow_jax.errors import WTFlowError


def check_empty(directory: Path, otherwise: str = "another --out") -> None:
    """Raise WTFlowError where something is in the way of a new directory.

    Args:
        directory: does not exist, or is empty.
        otherwise: what to give where it is not.
    """
    if directory.exists() and not directory.is_dir():
        raise WTFlowError(f"{directory}: is a file; give a directory as --out")
    if directory.is_dir() and any(directory.iterdir()):
        raise WTFlowError(f"{directory}: is not empty; give {otherwise}")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a file of this process's own, and call it ``path`` once it is written.

    Args:
        path: its directory is made; a file of the name is replaced, or stays as it is where writing
            fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """Give an empty directory of this process's own, and call it ``path`` once it is filled.

    Args:
        path: a directory of the name is replaced, or stays as it is where filling fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f"{path.name}.{uuid.uuid4().hex}"
    part, old = path.with_name(f"{name}.part"), path.with_name(f"{name}.old")
    try:
        part.mkdir()
        yield part
        if path.exists():
            os.replace(path, old)
        os.replace(part, path)
    finally:
        for left in (part, old):
            shutil.rmtree(left, ignore_errors=True)
