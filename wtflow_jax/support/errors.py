"""What a user is meant to read: one exception, one warning, and names in them."""

from collections.abc import Sequence

NAMED = 3
"""Things of a kind that are named."""


def shown(text: object) -> str:
    """Return a message or a path as one line that any terminal, file or page takes.

    It has escapes (``\\n``, ``\\x1b``, ``\\udcff``) for control characters, line ends, marks that
    turn the direction of writing, and bytes of a file name that are no UTF-8.
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def listed(names: Sequence[str]) -> str:
    """Return the first ``NAMED`` names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


class WTFlowError(Exception):
    """Bad input. The message is one line: the file, what was found and what to do.

    Raised where input enters; command lines print it without a traceback and exit with status 1.
    """

    def __init__(self, message: str) -> None:
        """Keep a message as one line, whatever the names in it are."""
        super().__init__(shown(message))


class WTFlowWarning(UserWarning):
    """What was done may be wrong, in one line that says why and what to do.

    Command lines print it on standard error; the exit status stays as it is.
    """
