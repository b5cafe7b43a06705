"""SIGINT and SIGTERM: the first one raises an exception, or sets a flag that a loop checks.

Files are written atomically (``files``, Orbax), so a stop at any moment loses only what was not
written yet. A compiled call cannot be interrupted: Python handles the signal when the call returns.
The second signal ends the process at once.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from traceback import walk_stack
from types import FrameType

HEARD = signal.SIGINT, signal.SIGTERM

DEAF = "__del__", "_xla_gc_callback"
"""Garbage collection (the last is JAX's) swallows exceptions: the signal is sent again."""

_asked: int | None = None
_deferred = False


class Stopped(KeyboardInterrupt):
    """Raised in the main thread by the first SIGINT or SIGTERM, unless it is ``deferred``."""

    def __init__(self, number: int) -> None:
        """Take a signal's number; the exit ``status`` is 130 or 143."""
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Handle SIGINT and SIGTERM, for command lines. An ignored signal stays ignored."""
    global _asked
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, _asked = _asked, None
    able = [number for number in HEARD if signal.getsignal(number) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, _handle) for number in able}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        _asked = before


def _handle(number: int, frame: FrameType | None) -> None:
    global _asked
    if any(each.f_code.co_name in DEAF for each, _ in walk_stack(frame)):
        threading.Timer(0.05, os.kill, (os.getpid(), number)).start()
        return
    _asked = number
    for each in HEARD:
        signal.signal(each, signal.SIG_DFL)
    if not _deferred:
        raise Stopped(number)


@contextlib.contextmanager
def deferred(value: bool = True) -> Iterator[None]:
    """Let a signal only set ``asked``; with False it raises ``Stopped`` as usual."""
    global _deferred
    _deferred = value
    try:
        yield
    finally:
        _deferred = False


def asked() -> bool:
    """Return whether a signal has come."""
    return _asked is not None


def leave() -> None:
    """Raise ``Stopped`` if a signal has come."""
    if _asked is not None:
        raise Stopped(_asked)
