"""Interprets the pickle of a state dict without ``pickle``, torch or anything the file names.

A pickle is a program. ``pickle.Unpickler`` with a strict ``find_class`` still lets that program set
attributes, hash nested tuples until the C stack ends and size the memo as it likes. So the opcodes
are read by ``pickletools`` (which runs nothing) and the few that a state dict needs are interpreted
here; a name found in the file is only ever looked up in a table of our own.

Format: ``torch/serialization.py`` and ``torch/_utils.py``.
"""

import io
import math
import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

_MAX_NDIM = 32

DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "u1",
}
"""Little-endian as in the file; bfloat16 is read as its 16 bits, bool as bytes."""


class Unreadable(Exception):
    """Says what is wrong with the file; the caller puts the file's name in front."""


class _Mark:
    """Marks where a run of stack items starts."""


class _Global(NamedTuple):
    """A name the pickle asks for. Never imported."""

    name: str


class Storage(NamedTuple):
    """Names a run of ``numel`` numbers in the file; ``kind`` is a key of ``DTYPES``."""

    key: str
    kind: str
    numel: int


class Tensor(NamedTuple):
    """A strided part of a storage, checked to lie inside it. Counted in elements."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise Unreadable("a tensor without a storage")
    whole = isinstance(size, tuple) and isinstance(stride, tuple) and _is_count(offset)
    if not whole or not all(map(_is_count, (*size, *stride))) or len(size) != len(stride):
        raise Unreadable("a tensor whose offset, size or stride are not counts")
    if len(size) > _MAX_NDIM:
        raise Unreadable(f"a tensor of {len(size)} dimensions")
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # A stride of 0 fits in any storage and may claim any size: no weight is saved that way.
    if count and (last >= storage.numel or count > storage.numel):
        raise Unreadable("a tensor that reaches beyond its storage")
    return Tensor(storage, offset, size, stride)


def _rebuild_parameter(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise Unreadable("a parameter without a tensor")
    return data


def _size(values: Any = ()) -> tuple[Any, ...]:
    # Without a limit a short file could have one long list copied any number of times.
    if not isinstance(values, tuple | list) or len(values) > _MAX_NDIM:
        raise Unreadable("a torch.Size of no short sequence")
    return tuple(values)


def _ordered_dict(*pairs: Any) -> dict[str, Any]:
    if pairs:
        raise Unreadable("an OrderedDict built from arguments")
    return {}


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch.Size": _size,
}
_KNOWN = _CALLS.keys() | {f"torch.{kind}" for kind in DTYPES}


def _global(module: Any, name: Any) -> _Global:
    if not isinstance(module, str) or not isinstance(name, str):
        raise Unreadable("a global without a name")
    asked = f"{module}.{name}"
    if asked not in _KNOWN:
        shown = asked if len(asked) < 100 else asked[:100] + "..."
        raise Unreadable(
            f"asks for {shown!r}; only tensors are read (float, integer, bool): "
            "save model.state_dict(), not the model"
        )
    return _Global(asked)


def _storage(pid: Any) -> Storage:
    # ("storage", class, key, location, numel); the legacy format adds a view, long None.
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
        raise Unreadable("a persistent id that is no storage")
    _, kind, key, _, numel, *view = pid
    if not isinstance(kind, _Global) or not isinstance(key, str) or not _is_count(numel):
        raise Unreadable("a persistent id of the wrong form")
    kind = kind.name.removeprefix("torch.")
    if kind not in DTYPES or view not in ([], [None]):
        raise Unreadable("a persistent id of the wrong form")
    return Storage(key, kind, numel)


class Machine:
    """The stack and memo of one pickle.

    Attributes:
        storages: those it names, by key.
    """

    def __init__(self) -> None:
        """Start with nothing read."""
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def run(self, file: io.BytesIO) -> Any:
        """Interpret the pickle at the file's position and leave the position behind it.

        Returns:
            Dicts with string keys, lists, tuples, constants, ``Storage`` and ``Tensor``.

        Raises:
            Unreadable: it describes something else. On bytes that are no pickle also ValueError,
                LookupError and TypeError.
        """
        for opcode, argument, position in pickletools.genops(file):
            if opcode.name == "STOP":
                return self.stack.pop()
            step = _STEPS.get(opcode.name)
            if step is None:
                raise Unreadable(f"opcode {opcode.name} at byte {position}; only tensors are read")
            step(self, argument)
        raise Unreadable("a pickle without an end")

    def _since_mark(self) -> list[Any]:
        """Pop everything above the topmost mark, and the mark."""
        items: list[Any] = []
        while not isinstance(item := self.stack.pop(), _Mark):
            items.append(item)
        return items[::-1]

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _push_tuple(self, count: int) -> None:
        items = [self.stack.pop() for _ in range(count)]
        self.stack.append(tuple(items[::-1]))

    def _put(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def _get_global(self, name: str | None) -> None:
        if name is None:
            attribute, module = self.stack.pop(), self.stack.pop()
        else:
            module, _, attribute = name.partition(" ")
        self.stack.append(_global(module, attribute))

    def _call(self, _: None) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise Unreadable("a call of something that is no function")
        if function.name not in _CALLS:
            raise Unreadable(f"a call of {function.name}")
        self.stack.append(_CALLS[function.name](*arguments))

    def _load_storage(self, _: None) -> None:
        storage = _storage(self.stack.pop())
        if self.storages.setdefault(storage.key, storage) != storage:
            raise Unreadable("one storage with two types or sizes")
        self.stack.append(storage)

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise Unreadable("items set on something that is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing a tuple nested deeply enough overflows the C stack.
            if not isinstance(key, str):
                raise Unreadable("a dict key that is no string")
            target[key] = value

    def _append(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise Unreadable("items appended to something that is no list")
        self.stack[-1].extend(items)


_STEPS: dict[str, Callable[[Machine, Any], Any]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda m, _: None),
    **dict.fromkeys(
        (
            *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
            *("BINUNICODE", "SHORT_BINUNICODE"),
            # Strings as Python 2 wrote them.
            *("BINSTRING", "SHORT_BINSTRING"),
        ),
        Machine._push,
    ),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), Machine._put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda m, i: m._push(m.memo[i])),
    **dict.fromkeys(("GLOBAL", "STACK_GLOBAL"), Machine._get_global),
    "NONE": lambda m, _: m._push(None),
    "NEWTRUE": lambda m, _: m._push(True),
    "NEWFALSE": lambda m, _: m._push(False),
    "MARK": lambda m, _: m._push(_Mark()),
    "EMPTY_DICT": lambda m, _: m._push({}),
    "EMPTY_LIST": lambda m, _: m._push([]),
    "EMPTY_TUPLE": lambda m, _: m._push(()),
    "TUPLE": lambda m, _: m._push(tuple(m._since_mark())),
    "TUPLE1": lambda m, _: m._push_tuple(1),
    "TUPLE2": lambda m, _: m._push_tuple(2),
    "TUPLE3": lambda m, _: m._push_tuple(3),
    "SETITEM": lambda m, _: m._set_items([m.stack.pop(), m.stack.pop()][::-1]),
    "SETITEMS": lambda m, _: m._set_items(m._since_mark()),
    "APPEND": lambda m, _: m._append([m.stack.pop()]),
    "APPENDS": lambda m, _: m._append(m._since_mark()),
    "BINPERSID": Machine._load_storage,
    "REDUCE": Machine._call,
    # A state dict carries its modules' versions as an attribute; nothing here needs attributes.
    "BUILD": lambda m, _: m.stack.pop(),
}
