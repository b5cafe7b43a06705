"""The one exception a user is meant to read."""


class WTFlowError(Exception):
    """Bad input. The message is one line: the file, what was found and what to do.

    Raised where input enters; command lines print it without a traceback and exit with status 1.
    """
