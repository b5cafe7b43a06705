"""The command ``python -m wtflow_jax.plan``."""

import sys

import tyro
from rich.console import Console

from wtflow_jax import plan
from wtflow_jax.errors import WTFlowError

if __name__ == "__main__":
    try:
        asked = tyro.cli(plan.Settings, prog="python -m wtflow_jax.plan", description=plan.__doc__)
        Console(highlight=False).print(plan.table(asked))
    except WTFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
