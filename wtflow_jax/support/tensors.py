"""Arrays and their description in one file (safetensors); loading executes nothing."""

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
"""Metadata entry: a SHA-256 of the arrays and the description, then the description as JSON.

Only one entry, because safetensors writes several in varying order.
"""


def _digest(about: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(about.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def save(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write arrays by name and a description (JSON), atomically."""
    # ascontiguousarray would turn scalars into vectors.
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = json.dumps(about)
    metadata = {ABOUT: f"{_digest(text, whole)} {text}"}
    # save_file would write a file that only its owner can read.
    with replacing(path) as part:
        part.write_bytes(safetensors.numpy.save(whole, metadata))


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays and the metadata of any safetensors file; ValueError with a short text."""
    if not path.is_file():
        raise ValueError("no such file")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, file.metadata() or {}
    # Names, sizes and dtypes are untrusted, and numpy raises various errors.
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the description of ``save``; ValueError as ``read``, or if damaged."""
    arrays, metadata = read(path)
    digest, _, about = metadata.get(ABOUT, "").partition(" ")
    # Earlier versions wrote the description without a digest.
    if len(digest) != 64:
        raise ValueError("of an earlier version, or of another program")
    if digest != _digest(about, arrays):
        raise ValueError("checksum mismatch, damaged or changed")
    return arrays, json.loads(about)
