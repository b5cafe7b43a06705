"""The command ``wtflow``, and ``python -m wtflow_jax``."""

import sys


def main() -> int:
    """Run a command and return its exit status."""
    from wtflow_jax.app import commands

    return commands.main()


if __name__ == "__main__":
    sys.exit(main())
