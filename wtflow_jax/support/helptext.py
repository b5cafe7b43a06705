"""Help of flags as running text: Tyro would keep the line breaks of a docstring."""

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from types import MappingProxyType

import tyro

HELP = "-h", "--help"


def _default(shown: str) -> str:
    """Return the text after a flag's help: its default, if it has a value."""
    return "" if shown in ("", "None") else f"(default: {shown})"


arg = partial(tyro.conf.arg, help_behavior_hint=_default)
"""Tyro's ``arg`` for optional flags: their help does not print a default of None."""


def flowing(groups: Sequence[type], arguments: Sequence[str]) -> None:
    """Join the lines of dataclass fields' help, if help is requested, so that Tyro wraps them."""
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
