"""Tables of parts chosen by name: WT maps, velocities, backbones, data sets and so on.

An entry is a function, a value, or a frozen dataclass whose fields are the options of the part.
Options become flags of every experiment, and ``Parts.make`` sets them. The modules in a table's
folder add their entries when the table is first read. For parts kept elsewhere, the environment
variable ``WTFLOW_PARTS`` lists Python files, or directories of them.
"""

import importlib
import importlib.util
import math
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from itertools import chain
from numbers import Real
from pathlib import Path
from typing import Any, Generic, TypeVar

from wtflow_jax.support.errors import WTFlowError

VARIABLE = "WTFLOW_PARTS"
Part = TypeVar("Part")
Entry = TypeVar("Entry")


class Parts(Mapping[str, Any], Generic[Part]):
    """Entries of one kind: those of the folder sorted by file, then others in order of addition.

    Attributes:
        flag: the flag that chooses an entry, without dashes: ``wt``.
    """

    def __init__(self, flag: str, folder: str | None = None) -> None:
        """Start empty; the modules of the package ``folder`` add entries."""
        self.flag, self._folder, self._entries = flag, folder, dict[str, Any]()
        self._modules = dict[str, str]()

    def add(self, name: str) -> Callable[[Entry], Entry]:
        """Return a decorator that adds its argument under a name; an older entry is replaced."""

        def enter(entry: Entry) -> Entry:
            self._entries[name] = entry
            # By the caller's name: a value has no ``__module__``.
            self._modules[name] = _caller(f"{self._folder}.")
            return entry

        return enter

    def __getitem__(self, name: str) -> Any:
        """Return an entry, or raise KeyError."""
        return self._look()[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._look())

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._look())

    # By identity: a static argument of a jitted function may hold a table.
    __eq__ = object.__eq__
    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType]

    def options(self, name: str) -> tuple[str, ...]:
        """Return the names of an entry's options."""
        entry = self.find(name)
        return tuple(f.name for f in fields(entry)) if _has_options(entry) else ()

    def find(self, name: str) -> Any:
        """Return an entry, or raise WTFlowError with the valid names."""
        if not isinstance(name, str) or name not in self:
            raise WTFlowError(
                f"--{self.flag.replace('_', '-')} {name}: no such choice; take one of "
                f"{', '.join(self)}"
            )
        return self[name]

    def given(self, part: Any) -> Any:
        """Return a part as it is, or make it from its name; WTFlowError as ``find``."""
        return self.make(part) if isinstance(part, str) else part

    def make(self, name: str, options: Mapping[str, Any] | None = None) -> Part:
        """Return a part made with those ``options`` that it has; WTFlowError as ``find``."""
        entry, own = self.find(name), self.options(name)
        chosen = {k: v for k, v in (options or {}).items() if k in own}
        return entry(**chosen) if _has_options(entry) else entry

    def _look(self) -> dict[str, Any]:
        if self._folder and self._folder not in _looked:
            _looked.add(self._folder)
            found = pkgutil.iter_modules(importlib.import_module(self._folder).__path__)
            modules = [f"{self._folder}.{module.name}" for module in found]
            for module in modules:
                importlib.import_module(module)
            place = {name: i for i, name in enumerate(modules)}

            def at(name: str) -> int:
                return place.get(self._modules[name], len(place))

            # Whatever the order of imports was.
            self._entries = {name: self._entries[name] for name in sorted(self._entries, key=at)}
        if (paths := os.environ.get(VARIABLE, "")) not in _looked:
            _looked.add(paths)
            try:
                for file in named_files():
                    _run(file)
            except BaseException:
                _looked.discard(paths)
                raise
        return self._entries


def _run(file: Path) -> None:
    """Import a file that registers parts."""
    name = f"wtflow_parts_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise WTFlowError(f"{file}: not a Python file; correct the variable {VARIABLE}")
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


def check_ranges(part: Any) -> None:
    """Raise WTFlowError if a field violates the RANGES or MULTIPLES of its class.

    RANGES maps a field to its lowest and highest value, None for no limit. MULTIPLES maps a field
    of RANGES to a divisor. Each element of a tuple is checked.
    """
    for name, (low, high) in getattr(part, "RANGES", {}).items():
        value, multiple = getattr(part, name), getattr(part, "MULTIPLES", {}).get(name)
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        least, most = -math.inf if low is None else low, math.inf if high is None else high
        # Written so that NaN, and any value that is not a number, is outside every range.
        numbers = all(isinstance(x, Real) for x in values)
        if numbers and all(least <= x <= most and not (multiple and x % multiple) for x in values):
            continue
        wanted = [f"at least {_text(low)}"] * (low is not None)
        wanted += [f"at most {_text(high)}"] * (high is not None)
        wanted += [f"a multiple of {multiple}"] * (multiple is not None)
        flag, found = "--" + name.replace("_", "-"), " ".join(map(_text, values))
        raise WTFlowError(f"{flag} {found}: give {' and '.join(wanted)}")


def _caller(prefix: str) -> str:
    """Return the name of the innermost running module with a prefix; empty if there is none."""
    frame = sys._getframe(1)
    # The frame above is not always the caller's: decorators of type checkers lie between.
    while frame and not frame.f_globals.get("__name__", "").startswith(prefix):
        frame = frame.f_back
    return frame.f_globals["__name__"] if frame else ""


def _text(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)


_looked: set[str] = set()
"""Folders and values of ``VARIABLE`` that were imported, or are being imported."""


def _has_options(entry: Any) -> bool:
    # An instance has its options set already.
    return isinstance(entry, type) and is_dataclass(entry)


def named_files() -> list[Path]:
    """Return the Python files that ``WTFLOW_PARTS`` lists."""
    found = map(Path, filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)))
    each = (sorted(path.glob("*.py")) if path.is_dir() else [path] for path in found)
    return [*chain.from_iterable(each)]
