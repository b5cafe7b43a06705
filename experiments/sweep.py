"""See ``wtflow_jax.lab.sweep``."""

import sys
from pathlib import Path

from wtflow_jax.lab import sweep

if __name__ == "__main__":
    sys.exit(sweep.main(Path(__file__).absolute().parent, sys.argv[1:]))
