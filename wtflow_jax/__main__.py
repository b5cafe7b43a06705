"""The command ``wtflow``, and ``python -m wtflow_jax``."""

import signal
import sys


def main() -> int:
    """Run a command and return its exit status; Ctrl-C ends it at once while it is imported.

    Python would raise an exception, of which modules make another one or none.
    """
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from wtflow_jax import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
