"""Tables: built once, shown on the terminal by rich and written as Markdown."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import rich.table
from rich.console import Console
from rich.markup import escape

from wtflow_jax.support.errors import shown

NONE = "–"
"""In place of a figure that there is none of."""


class Table(NamedTuple):
    """A table of text.

    Attributes:
        title: what it shows.
        columns: headings; the first column holds names, the others figures.
        rows: as many cells each.
        notes: sentences below it.
    """

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
    """Print a table; on a terminal that is too narrow, without the last columns."""
    count = len(table.columns)
    # Where nobody looks at it, as wide as it is.
    while console.is_terminal and _width(_view(table, count)) > console.width and count > 1:
        count -= 1
    view = _view(table, count)
    Console(file=console.file, width=max(_width(view), console.width)).print(view)
    left_out = len(table.columns) - count
    for note in [*table.notes, *[f"{left_out} more columns are in table.md."] * bool(left_out)]:
        console.print(shown(note), style="dim", markup=False)


def _view(table: Table, count: int) -> rich.table.Table:
    view = rich.table.Table(title=escape(shown(table.title)))
    for i, name in enumerate(table.columns[:count]):
        view.add_column(escape(shown(name)), justify="right" if i else "left", no_wrap=True)
    for row in table.rows:
        view.add_row(*(escape(shown(cell)) for cell in row[:count]))
    return view


def _width(view: rich.table.Table) -> int:
    return Console(width=10_000).measure(view).maximum


def number(value: float | None, std: float | None = None, digits: int = 2) -> str:
    """Return ``98.05 ± 0.01``, ``98.05`` or a dash."""
    if value is None:
        return NONE
    return f"{value:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")


def difference(ours: float | None, theirs: float | None) -> str:
    """Return ours less theirs with its sign, or a dash."""
    return NONE if ours is None or theirs is None else f"{ours - theirs:+.2f}"
