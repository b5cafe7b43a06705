"""What files say is not believed: JSON of any form, and paths that must not lead elsewhere."""

import json
from pathlib import Path, PurePath
from typing import Any


def parse(text: str | bytes) -> Any:
    """Return what JSON says.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def inside(directory: Path, name: Any) -> Path:
    """Return the path of a file of a directory that another file names.

    Args:
        directory: what the name is relative to.
        name: with ``/`` between directories.

    Raises:
        ValueError: it is no text, is absolute, or has ``..`` in it.
    """
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is no path")
    path = PurePath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name!r} leads out of {directory}")
    return directory / path
