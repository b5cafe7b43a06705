"""``python -m wtflow_jax.plan``: what a run will take."""

import sys

from wtflow_jax.app import plan

if __name__ == "__main__":
    sys.exit(plan.main())
