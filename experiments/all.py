"""See ``wtflow_jax.lab.all``."""

import sys

from wtflow_jax.lab import all

if __name__ == "__main__":
    sys.exit(all.main(sys.argv[1:]))
