"""Reads tensors from a file of ``torch.save``, zip or legacy format, without torch.

A pickle is a program, and the file is untrusted. Names in it are only looked up in ``_KNOWN``;
nothing is imported. Format: ``torch/serialization.py`` and ``torch/_utils.py``.
"""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wtflow_jax.support.errors import WTFlowError

_BFLOAT16 = "<u2"
"""bfloat16, read as its 16 bits."""
_DTYPES = dict(Double="<f8", Float="<f4", Half="<f2", BFloat16=_BFLOAT16, Bool="?")
_DTYPES |= dict(Long="<i8", Int="<i4", Short="<i2", Char="i1", Byte="u1")


class _Dict(dict):
    def __setstate__(self, state: object) -> None:
        """Ignore attributes; a state dict stores the versions of its modules in one."""


# Named tuples, because a pickle could change the attributes of other objects.
class _Storage(NamedTuple):
    dtype: str
    key: str = ""


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Call(NamedTuple):
    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


_KNOWN: dict[str, _Call | _Storage] = {
    "collections.OrderedDict": _Call(_Dict),
    "torch._utils._rebuild_tensor": _Call(_Tensor),
    "torch._utils._rebuild_tensor_v2": _Call(lambda *arguments: _Tensor(*arguments[:4])),
    "torch._utils._rebuild_parameter": _Call(lambda tensor, *_: tensor),
    "torch.Size": _Call(tuple),
}
_KNOWN |= {f"torch.{kind}Storage": _Storage(dtype) for kind, dtype in _DTYPES.items()}


# The unpickler in Python: the one in C allocates memory for any index that a corrupt file names.
class _Unpickler(pickle._Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="utf-8")
        self.dtypes: dict[str, str] = {}

    def find_class(self, module: str, name: str) -> _Call | _Storage:
        if (asked := f"{module}.{name}") not in _KNOWN:
            raise ValueError(f"asks for {asked[:100]!r}; only tensors are read")
        return _KNOWN[asked]

    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, *_ = pid
        if not isinstance(kind, _Storage) or not isinstance(key, str):
            raise ValueError("a storage of an unknown kind")
        self.dtypes[key] = kind.dtype
        return kind._replace(key=key)


def _read_zip(file: io.BytesIO) -> tuple[Any, dict[str, bytes]]:
    with zipfile.ZipFile(file) as archive:
        root = next((name[:-8] for name in archive.namelist() if name.endswith("/data.pkl")), "")
        unpickler = _Unpickler(io.BytesIO(archive.read(f"{root}data.pkl")))
        found = unpickler.load()
        return found, {key: archive.read(f"{root}data/{key}") for key in unpickler.dtypes}


def _read_legacy(file: io.BytesIO) -> tuple[Any, dict[str, bytes]]:
    # Magic number, protocol, the writer's type sizes; data are little-endian in any case.
    for _ in range(3):
        _Unpickler(file).load()
    unpickler = _Unpickler(file)
    found, raw = unpickler.load(), {}
    for key in _Unpickler(file).load():
        count = int.from_bytes(file.read(8), "little")
        raw[key] = file.read(count * np.dtype(unpickler.dtypes[key]).itemsize)
    return found, raw


def _array(tensor: _Tensor, raw: dict[str, bytes]) -> np.ndarray:
    # numpy refuses a view beyond its buffer, except if the buffer is empty.
    (kind, key), offset, size, stride = tensor
    if not raw[key]:
        return np.zeros(0, kind).reshape(size)
    item = np.dtype(kind).itemsize
    array = np.ndarray(size, kind, raw[key], offset * item, [step * item for step in stride])
    if kind == _BFLOAT16:
        return np.asarray(array.astype(np.uint32) << 16).view(np.float32)
    return array


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a state dict that ``torch.save`` wrote, without executing anything.

    They are read-only views of the file's bytes; bfloat16 becomes float32. Raises WTFlowError if
    the file is malformed or is not a dict of tensors.
    """
    try:
        data = path.read_bytes()
        found, raw = (_read_zip if data[:2] == b"PK" else _read_legacy)(io.BytesIO(data))
        if not isinstance(found, dict):
            raise ValueError("holds no dict of tensors")
        for name, value in found.items():
            if not isinstance(name, str) or not isinstance(value, _Tensor):
                raise ValueError(f"{name!r:.100} is of type {type(value).__name__}, not a tensor")
        return {name: _array(value, raw) for name, value in found.items()}
    # On malformed bytes pickle, zipfile and numpy raise many kinds of exceptions.
    except Exception as error:
        raise WTFlowError(
            f"{path}: is not a state dict as torch.save writes it ({type(error).__name__}: "
            f"{error}); save model.state_dict()"
        ) from None
