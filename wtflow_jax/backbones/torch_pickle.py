"""Tensors out of a file that ``torch.save`` wrote, zip or legacy format, without torch.

``pickle_machine`` says what the file describes; here the bytes are found and checked against it.
"""

import io
import math
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.lib.stride_tricks import as_strided

from wtflow_jax.backbones.pickle_machine import DTYPES, Machine, Storage, Tensor, Unreadable
from wtflow_jax.support.errors import WTFlowError

_ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def _decode(storage: Storage, raw: bytes | memoryview) -> np.ndarray:
    array = np.frombuffer(raw, DTYPES[storage.kind])
    if storage.kind == "BFloat16Storage":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array != 0 if storage.kind == "BoolStorage" else array


def _read_zip(data: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        # torch stores without compression; then nothing can be larger than the file itself.
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise Unreadable("a compressed zip entry, which torch never writes")
        if sum(entry.file_size for entry in entries) > len(data):
            raise Unreadable("zip entries that claim more bytes than the file has")
        names = {entry.filename for entry in entries}
        roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise Unreadable("no data.pkl in the zip: not written by torch.save")
        if f"{roots[0]}constants.pkl" in names:
            raise Unreadable("a TorchScript archive; save model.state_dict() by torch.save")
        order = f"{roots[0]}byteorder"
        if order in names and archive.read(order) != b"little":
            raise Unreadable("tensors that are not little-endian")
        machine = Machine()
        described = machine.run(io.BytesIO(archive.read(f"{roots[0]}data.pkl")))
        arrays = {}
        for key, storage in machine.storages.items():
            entry = f"{roots[0]}data/{key}"
            expected = storage.numel * np.dtype(DTYPES[storage.kind]).itemsize
            if entry not in names or archive.getinfo(entry).file_size != expected:
                raise Unreadable("a storage that is missing or has another size than declared")
            arrays[key] = _decode(storage, archive.read(entry))
    return described, arrays


def _read_legacy(data: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    file = io.BytesIO(data)
    if Machine().run(file) != _LEGACY_MAGIC or Machine().run(file) != _LEGACY_PROTOCOL:
        raise Unreadable("not written by torch.save")
    Machine().run(file)  # The writer's type sizes; the data are little-endian whatever they say.
    machine = Machine()
    described = machine.run(file)
    keys = Machine().run(file)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Unreadable("a list of storages of the wrong form")
    if len(keys) != len(machine.storages) or set(keys) != machine.storages.keys():
        raise Unreadable("tensors and storages that do not belong together")
    view, position, arrays = memoryview(data), file.tell(), {}
    for key in keys:
        storage = machine.storages[key]
        start = position + 8
        position = start + storage.numel * np.dtype(DTYPES[storage.kind]).itemsize
        if position > len(data):
            raise Unreadable("truncated: a storage ends beyond the file")
        if int.from_bytes(view[start - 8 : start], "little") != storage.numel:
            raise Unreadable("a storage of another size than declared")
        arrays[key] = _decode(storage, view[start:position])
    return described, arrays


def _view(tensor: Tensor, storage: np.ndarray) -> np.ndarray:
    if not math.prod(tensor.size):
        return np.zeros(tensor.size, storage.dtype)
    # The step of an axis of length 1 is never taken, and may be anything.
    steps = [
        step * storage.itemsize if n > 1 else 0
        for n, step in zip(tensor.size, tensor.stride, strict=True)
    ]
    return as_strided(storage[tensor.offset :], tensor.size, steps, writeable=False)


def _fail(path: Path, what: str) -> NoReturn:
    raise WTFlowError(f"{path}: {' '.join(what.split())}") from None


def read(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a state dict that ``torch.save`` wrote, executing nothing.

    Args:
        path: a ``.pth`` or ``.pt`` file, zip format or the legacy one.

    Returns:
        The tensors by name, as read-only views of the file's bytes; bfloat16 becomes float32.

    Raises:
        WTFlowError: the file is damaged, or holds something else than a dict of tensors.
    """
    try:
        data = path.read_bytes()
        described, arrays = (_read_zip if data.startswith(_ZIP_MAGIC) else _read_legacy)(data)
        if not isinstance(described, dict):
            raise Unreadable("holds no dict of tensors; save model.state_dict()")
        state = {}
        for name, value in described.items():
            if not isinstance(value, Tensor):
                kind = type(value).__name__.removeprefix("_")
                raise Unreadable(
                    f"{name[:100]!r} is of type {kind}, no tensor; save model.state_dict()"
                )
            state[name] = _view(value, arrays[value.storage.key])
    except Unreadable as error:
        _fail(path, str(error))
    except OSError as error:
        _fail(path, f"cannot be read: {error.strerror or error}")
    # What pickletools, zipfile and numpy raise on bytes that are none of theirs.
    except (
        *(ValueError, LookupError, TypeError, EOFError, OverflowError, MemoryError),
        *(zipfile.BadZipFile, NotImplementedError, RuntimeError, AttributeError),
    ) as error:
        _fail(path, f"damaged, or not written by torch.save ({type(error).__name__}: {error})")
    return state
