"""``python -m wtflow_jax``: the command ``wtflow``."""

import sys

from wtflow_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
