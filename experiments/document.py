"""See ``wtflow_jax.lab.document``."""

import sys

import tyro

from wtflow_jax.lab import document

if __name__ == "__main__":
    sys.exit(tyro.cli(document.main, description=document.__doc__))
