"""See ``wtflow_jax.lab.sweep``."""

import sys

from wtflow_jax.lab import sweep

if __name__ == "__main__":
    sys.exit(sweep.main(sys.argv[1:]))
