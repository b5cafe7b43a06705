"""Being asked to stop: SIGTERM is heard like Ctrl-C, and a program leaves within seconds.

Whatever is written is written whole or not at all (``atomic``, Orbax), so that leaving at any
moment loses no more than what was not written yet.
"""

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

GRACE = 8.0
"""Seconds after which a program that is still busy with something else leaves without more ado."""

HEARD = signal.SIGINT, signal.SIGTERM

_asked: int | None = None
_repeated = False
_deferred = False
_answered = threading.Event()
_writing = threading.RLock()
_came = math.inf


class Stopped(KeyboardInterrupt):
    """Raised in the main thread by the first SIGINT or SIGTERM, unless it is ``deferred``.

    While a module is imported the process ends without it.

    Attributes:
        status: the exit status, 130 or 143.
    """

    def __init__(self, number: int) -> None:
        """Take a signal's number."""
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


def at_once() -> None:
    """Have SIGINT end the process at once, for what imports until signals are ``heard``.

    Python would raise an exception, of which modules make another one or none. What whoever
    started the process has it ignore stays ignored, here and in ``heard``.
    """
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def heard(again: str = "") -> Iterator[None]:
    """Raise ``Stopped`` on SIGINT and SIGTERM; the second one ends the process at once.

    So does the first where nothing follows from it for ``GRACE`` seconds: a compilation or a long
    step cannot be interrupted. For command lines; only the main thread hears signals.

    Args:
        again: how what was stopped goes on.
    """
    global _asked, _answered, _came
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    outer = _answered, _asked, _came
    _answered, _asked, _came = threading.Event(), None, math.inf
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # Written to at once, whatever the main thread is doing; Python's own handler has to wait.
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    able = [number for number in HEARD if signal.getsignal(number) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, _handle) for number in able}
    hook = sys.unraisablehook
    sys.unraisablehook = lambda lost: _repeat(lost.exc_value) or hook(lost)
    watch = threading.Thread(target=_watch, args=(reading, _answered, again), daemon=True)
    watch.start()
    try:
        yield
    finally:
        answer()
        sys.unraisablehook = hook
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(writing)
        watch.join()
        os.close(reading)
        _answered, _asked, _came = outer


def _handle(number: int, frame: FrameType | None) -> None:
    global _asked
    if _asked is not None:
        os._exit(128 + number)
    _asked = number
    if _deferred:
        return
    if _importing(frame):
        # Modules make another error of it, or none; nothing is being written.
        print("stopped", file=sys.stderr, flush=True)
        os._exit(128 + number)
    raise Stopped(number)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _repeat(lost: BaseException | None) -> bool:
    """Send a signal again whose exception was raised in a callback, which lets none through."""
    if not isinstance(lost, Stopped):
        return False

    def send() -> None:
        global _asked, _repeated
        _asked, _repeated = None, True
        signal.pthread_kill(threading.main_thread().ident or 0, lost.status - 128)

    # When the callback has returned.
    threading.Timer(0.01, send).start()
    return True


def _watch(reading: int, answered: threading.Event, again: str) -> None:
    global _repeated, _came
    heard = 0
    while number := os.read(reading, 1):
        if number[0] not in HEARD:
            continue
        if _repeated:
            _repeated = False
            continue
        heard += 1
        _came = min(_came, time.monotonic())
        # The main thread may be where it hears nothing.
        if heard > 1:
            os._exit(128 + number[0])
        arguments = number[0], answered, again
        threading.Thread(target=_leave, args=arguments, daemon=True).start()


def _leave(number: int, answered: threading.Event, again: str) -> None:
    while not answered.wait(GRACE):
        # What is being written is finished first, and then there is time to leave.
        if _writing.acquire(blocking=False):
            told = f"stopped, being busy for {GRACE:g} seconds{again and '; '}{again}"
            print(told, file=sys.stderr, flush=True)
            os._exit(128 + number)


def asked() -> bool:
    """Return whether a signal has come that was ``deferred``."""
    return _asked is not None


def late() -> bool:
    """Return whether a signal came so long ago that there is no time left to save."""
    return time.monotonic() - _came > GRACE / 2


@contextlib.contextmanager
def deferred(value: bool = True) -> Iterator[None]:
    """Keep the first signal for ``asked``.

    Args:
        value: False within such a block raises ``Stopped`` again, at once where one has come.
    """
    global _deferred
    before, _deferred = _deferred, value
    try:
        if not value:
            leave()
        yield
    finally:
        _deferred = before


def leave() -> None:
    """Raise ``Stopped`` if a signal has come."""
    if _asked is not None:
        raise Stopped(_asked)


def writing() -> contextlib.AbstractContextManager[object]:
    """Return what to hold while something is written that is not to be cut off after ``GRACE``."""
    return _writing


def answer() -> None:
    """Take the time that saving takes: ``GRACE`` no longer counts."""
    _answered.set()
