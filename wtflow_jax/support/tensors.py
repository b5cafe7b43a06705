"""Arrays in one file (safetensors) with what is said of them; nothing in it is executed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from wtflow_jax.support.files import replacing

ABOUT = "about"
"""In the file's metadata: a SHA-256 of the arrays and the description, then that as JSON.

One entry: of several safetensors writes now the one first, now the other.
"""


def _digest(about: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(about.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def save(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write arrays by name and a description, JSON; the file appears whole or not at all."""
    # ascontiguousarray would make vectors of scalars.
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = json.dumps(about)
    metadata = {ABOUT: f"{_digest(text, whole)} {text}"}
    # save_file would write what its owner alone can read.
    with replacing(path) as part:
        part.write_bytes(safetensors.numpy.save(whole, metadata))


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays of any safetensors file, and its metadata; ValueError in a few words."""
    if not path.is_file():
        raise ValueError("no such file")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, file.metadata() or {}
    # Names, sizes and dtypes are in the file's hands, and numpy's answers differ.
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the description that ``save`` has written; ValueError as ``read``."""
    arrays, metadata = read(path)
    digest, _, about = metadata.get(ABOUT, "").partition(" ")
    # Before, the description stood there alone.
    if len(digest) != 64:
        raise ValueError("of an earlier version, or of another program")
    if digest != _digest(about, arrays):
        raise ValueError("not what was written, damaged perhaps")
    return arrays, json.loads(about)
