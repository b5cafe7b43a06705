"""Writes docs/results.md from results.json files: see ``wtflow_jax.lab.document``."""

import sys
from pathlib import Path

import tyro

from wtflow_jax.lab import document
from wtflow_jax.support.console import status


def main(add: tuple[Path, ...] = (), check: bool = False) -> int:
    """Write docs/results.md.

    Args:
        add: directories of runs whose results.json is first copied to docs/results.
        check: write nothing; exit status 1 where the document is not up to date.
    """
    return status(lambda: document.main(Path(__file__).absolute().parent, add, check))


if __name__ == "__main__":
    sys.exit(tyro.cli(main, description=document.__doc__))
