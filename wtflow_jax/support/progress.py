"""Progress bars of everything that takes more than a few seconds."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column


def bars() -> Progress:
    """Return progress bars on standard error; each has a ``note``."""
    return Progress(
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(table_column=Column(min_width=5)),
        # Numbers are not cut off where a terminal is narrow.
        MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=7)),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
        TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=7)),
        console=Console(stderr=True),
    )
