"""The command ``python -m wtflow_jax.datasets``."""

import sys

from wtflow_jax.app.datasets import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
