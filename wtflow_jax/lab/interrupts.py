"""Imported before all else: Ctrl-C ends a script at once while the rest is imported."""

import sys
from pathlib import Path

from wtflow_jax.support import signals

# A script of this directory, and not another program that imports from it.
if Path(sys.argv[0]).absolute().parent == Path(__file__).absolute().parent:
    signals.at_once()
