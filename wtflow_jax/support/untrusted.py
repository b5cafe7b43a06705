"""What files say is not believed: JSON, tensors, and paths that must not lead elsewhere."""

import errno
import json
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open


def parse(text: str | bytes) -> Any:
    """Return what JSON says.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def inside(directory: Path, name: Any, *, links: bool = False) -> Path:
    """Return the path of a file of a directory that another file names.

    Args:
        directory: what the name is relative to.
        name: with ``/`` between directories.
        links: may lead out, and to a directory.

    Raises:
        ValueError: it is no text, is absolute, too long, has ``..`` in it, is a link that leads
            out, or something else than a file, a pipe for instance, is there.
    """
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is no path")
    path = PurePath(name)
    whole = directory / path
    out = not links and not whole.resolve().is_relative_to(directory.resolve())
    if out or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name!r} leads out of {directory}")
    try:
        there = whole.exists()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise ValueError(f"{name[:40]!r}... is too long for a file") from error
    if there and not links and not whole.is_file():
        raise ValueError(f"{name!r} is not a file")
    return whole


def tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays of a safetensors file by name, and its metadata.

    Raises:
        ValueError: it cannot be read, or is none.
    """
    if path.exists() and not path.is_file():
        # A pipe might never end, and safetensors hears no signal while it waits.
        raise ValueError("not a file")
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, file.metadata() or {}
    # Names, sizes and dtypes are in the file's hands, and numpy's answers differ.
    except (
        *(SafetensorError, OSError, ValueError, TypeError, LookupError, AttributeError),
        *(OverflowError, MemoryError),
    ) as error:
        raise ValueError(" ".join(str(error).split())) from error
