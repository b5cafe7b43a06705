"""What all command lines share: how they end."""

import os
import sys
from collections.abc import Callable

from wtflow_jax.support import signals
from wtflow_jax.support.errors import WTFlowError, shown


def status(work: Callable[[], int], *, again: str = "", advice: str = "") -> int:
    """Do a command's work and return its exit status, 1 where it ends in an error of one line.

    Args:
        work: returns the status.
        again: how what was stopped goes on.
        advice: what to do about files that cannot be written.
    """
    with signals.heard(again):
        try:
            return work()
        except WTFlowError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except BrokenPipeError:
            # Whoever read the output has enough of it; nothing is left to be flushed at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            told = shown(f"{where}{error.strerror or error}")
            print(f"error: {told}{_after(advice)}", file=sys.stderr)
            return 1
        except KeyboardInterrupt as stopped:
            print(f"stopped{_after(again)}", file=sys.stderr)
            return stopped.status if isinstance(stopped, signals.Stopped) else 130


def _after(text: str) -> str:
    return text and f"; {text}"
