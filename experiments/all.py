"""See ``wtflow_jax.lab.all``."""

import sys
from pathlib import Path

from wtflow_jax.lab import all

if __name__ == "__main__":
    sys.exit(all.main(Path(__file__).absolute().parent, sys.argv[1:]))
