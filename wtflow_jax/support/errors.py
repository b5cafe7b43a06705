"""Messages for users: one exception, one warning, and how they print names."""

from collections.abc import Sequence

NAMED = 3
"""Number of names that a message lists."""


def shown(text: object) -> str:
    """Return a message or a path as one line that any terminal, file or page can show.

    Escapes (``\\n``, ``\\x1b``, ``\\udcff``) replace control characters, line ends, marks that
    change the direction of writing, and bytes of a file name that are not UTF-8.
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def listed(names: Sequence[str]) -> str:
    """Return the first ``NAMED`` names, and the number of the others."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


class WTFlowError(Exception):
    """Bad input. The message is one line: the file, what was found and what to do.

    Raised where input enters; command lines print it without a traceback and exit with status 1.
    """

    def __init__(self, message: str) -> None:
        """Store the message as one line, see ``shown``."""
        super().__init__(shown(message))


class WTFlowWarning(UserWarning):
    """A result may be wrong. The message is one line: why, and what to do.

    Command lines print it on standard error; the exit status does not change.
    """
