"""The command ``python -m wtflow_jax.plan``."""

import sys

import tyro
from rich.console import Console

from wtflow_jax import plan
from wtflow_jax.support import command


def _show() -> int:
    asked = tyro.cli(plan.Settings, prog="python -m wtflow_jax.plan", description=plan.__doc__)
    Console(highlight=False).print(plan.table(asked))
    return 0


if __name__ == "__main__":
    sys.exit(command.status(_show))
