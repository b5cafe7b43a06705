"""Console output of a command: progress, tables, errors; and its exit status."""

import contextlib
import os
import shutil
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import rich.progress
import rich.table
from rich.console import Console
from rich.markup import escape
from rich.table import Column

from wtflow_jax.support import signals
from wtflow_jax.support.errors import WTFlowError, WTFlowWarning, shown

NONE = "–"
"""In place of a missing figure."""


Advance: TypeAlias = Callable[..., object]
"""``advance(done=1, note=None)``: number of items done since the last call, and a short note."""
Track: TypeAlias = Callable[[str, int | None], Advance]
"""``track(what, total) -> advance``: begin to show the progress of ``total`` items of work."""


def untracked(what: str, total: int | None) -> Advance:
    """Show nothing."""
    return lambda *_: None


def say(*lines: str) -> None:
    """Print lines; on a terminal, wrap them between words."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        broken = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False)
        lines = tuple(map(broken.fill, lines))
    print("\n".join(lines))


OFTEN = 30.0
"""Seconds between progress lines of the same work, without a terminal."""


class _Lines:
    """Progress of some work in lines, for files: every ``OFTEN`` seconds, and at the end."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._of = shown(what), "" if total is None else f"/{total}"
        self._total, self._done, self._note = total, 0, ""
        self._began = self._told = time.monotonic()
        self._open = True

    def __call__(self, done: int = 1, note: str | None = None) -> None:
        self._done += done
        self._note = self._note if note is None else f", {note}"
        if time.monotonic() - self._told > OFTEN or self._done == self._total:
            self._tell()
        self._open = self._done != self._total

    def _tell(self) -> None:
        self._told = time.monotonic()
        seconds = f"{self._told - self._began:.0f} s"
        line = f"{self._what}: {self._done}{self._of}{self._note}, {seconds}"
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._open:
            self._tell()


@contextlib.contextmanager
def bars() -> Iterator[Track]:
    """Show progress on standard error: a bar per call on a terminal, lines in a file."""
    with _bars() if Console(stderr=True).is_terminal else _lines() as track:
        yield track


@contextlib.contextmanager
def _lines() -> Iterator[Track]:
    every: list[_Lines] = []

    def track(what: str, total: int | None) -> Advance:
        every.append(_Lines(what, total))
        return every[-1]

    try:
        yield track
    finally:
        for one in every:
            one.close()


@contextlib.contextmanager
def _bars() -> Iterator[Track]:
    # Numbers stay whole on a narrow terminal.
    fixed = Column(no_wrap=True, min_width=7)
    progress = rich.progress.Progress(
        rich.progress.TextColumn("{task.description}", style="bold", markup=False),
        rich.progress.BarColumn(table_column=Column(min_width=5)),
        rich.progress.MofNCompleteColumn(table_column=fixed),
        rich.progress.TextColumn("{task.fields[note]}"),
        rich.progress.TimeElapsedColumn(table_column=fixed),
        rich.progress.TimeRemainingColumn(table_column=fixed),
        console=Console(stderr=True),
    )

    def track(what: str, total: int | None) -> Advance:
        # Only now: the display begins with an empty line.
        progress.start()
        task = progress.add_task(shown(what), total=total, note="")

        def advance(done: int = 1, note: str | None = None) -> None:
            progress.advance(task, done)
            if note is not None:
                progress.update(task, note=note)

        return advance

    try:
        yield track
    finally:
        if progress.tasks:
            progress.stop()


def status(work: Callable[[], int], *, again: str = "", advice: str = "") -> int:
    """Do a command's work and return its exit status; errors are one line and status 1.

    ``again`` says how to continue a stopped command, ``advice`` what to do about file errors.
    """

    def ended(message: str, more: str, exit_status: int = 1) -> int:
        print(shown(message + (more and f"; {more}")), file=sys.stderr)
        return exit_status

    with signals.heard(), _warnings_in_a_line():
        try:
            return work()
        except WTFlowError as error:
            return ended(f"error: {error}", "")
        except BrokenPipeError:
            # The reader has closed the pipe: discard what Python flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return ended(f"error: {where}{error.strerror or error}", advice)
        except (RuntimeError, AssertionError, ValueError) as error:
            # Imported late: it loads JAX, which --help does not need.
            from wtflow_jax.support import environment

            if not (setting := environment.setting(error)):
                raise
            return ended(f"error: {setting}", "")
        except KeyboardInterrupt as stopped:
            return ended("stopped", again, getattr(stopped, "status", 130))


@contextlib.contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Print each WTFlowWarning as one line on standard error, other warnings as before."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, WTFlowWarning):
                print(shown(f"warning: {message}"), file=sys.stderr)
            else:
                usual(message, category, *where)

        warnings.simplefilter("always", WTFlowWarning)
        warnings.showwarning = show
        yield


class Table(NamedTuple):
    """A table of text: names in the first column, figures in the others; notes go below it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def markdown(table: Table) -> str:
    """Return a table as Markdown, its title in bold."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    rule = ["---"] + ["---:"] * (len(table.columns) - 1)
    lines = [line(table.columns), line(rule), *map(line, table.rows)]
    return "\n\n".join([f"**{table.title}**", "\n".join(lines), *table.notes]) + "\n"


def show(table: Table, console: Console) -> None:
    """Print a table; on a narrow terminal, leave out the last columns."""
    view, left_out = rich.table.Table(title=escape(shown(table.title))), 0
    for i, name in enumerate(table.columns):
        view.add_column(escape(shown(name)), justify="right" if i else "left", no_wrap=True)
    for row in table.rows:
        view.add_row(*(escape(shown(cell)) for cell in row))

    def width() -> int:
        return Console(width=10_000).measure(view).maximum

    # Without a terminal, print the full width.
    while console.is_terminal and width() > console.width and len(view.columns) > 1:
        view.columns.pop()
        left_out += 1
    Console(file=console.file, width=max(width(), console.width)).print(view)
    for note in [*table.notes, *[f"{left_out} more columns are in table.md."] * bool(left_out)]:
        console.print(shown(note), style="dim", markup=False)


def number(value: float | None, std: float | None = None, digits: int = 2) -> str:
    """Return ``98.05 ± 0.01``, ``98.05`` or a dash."""
    if value is None:
        return NONE
    return f"{value:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")


def difference(ours: float | None, theirs: float | None) -> str:
    """Return ours minus theirs with its sign, or a dash."""
    return NONE if ours is None or theirs is None else f"{ours - theirs:+.2f}"
