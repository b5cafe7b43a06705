"""The command ``wtflow``, and ``python -m wtflow_jax``."""

import sys

from wtflow_jax.support import signals


def main() -> int:
    """Run a command and return its exit status; Ctrl-C ends it at once while it is imported."""
    signals.at_once()
    from wtflow_jax.app import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
