"""Help of flags as running text: Tyro keeps the line ends of a docstring, wherever they fall."""

from collections.abc import Sequence
from dataclasses import fields
from types import MappingProxyType

HELP = "-h", "--help"


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
