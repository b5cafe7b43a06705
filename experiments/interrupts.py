"""Imported before all else: Ctrl-C ends a script at once while the rest is imported.

Python would raise an exception, of which modules make another one or none.
"""

import signal
import sys
from pathlib import Path

# A script of this directory, and not another program that imports from it.
own = Path(sys.argv[0]).absolute().parent == Path(__file__).absolute().parent
if own and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
