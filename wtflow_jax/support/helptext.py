"""Help of flags as running text: Tyro keeps the line ends of a docstring, wherever they fall."""

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from types import MappingProxyType

import tyro

HELP = "-h", "--help"


def _default(shown: str) -> str:
    """Return what follows the help of a flag: its default, if it has a value."""
    return "" if shown in ("", "None") else f"(default: {shown})"


arg = partial(tyro.conf.arg, help_behavior_hint=_default)
"""Tyro's ``arg`` for flags that may be left out: their help names no default of None."""


def flowing(groups: Sequence[type], arguments: Sequence[str]) -> None:
    """Let the help of dataclasses' fields be wrapped anew, where help is asked for."""
    if not set(HELP) & set(arguments):
        return
    import docstring_parser

    for group in groups:
        said = {
            part.arg_name: part.description
            for found in reversed(group.__mro__[:-1])
            for part in docstring_parser.parse_from_object(found).params
        }
        for field in fields(group):
            if text := said.get(field.name):
                metadata = {**field.metadata, "help": " ".join(text.split())}
                field.metadata = MappingProxyType(metadata)  # pyright: ignore
