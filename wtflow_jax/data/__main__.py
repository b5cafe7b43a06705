"""``python -m wtflow_jax.data``: check a data set, or prepare it for TensorFlow Datasets."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from tyro.conf import Positional, arg

from wtflow_jax.data import tfds
from wtflow_jax.data.check import check, closing, table
from wtflow_jax.data.layouts import LAYOUTS, PREPARED, find
from wtflow_jax.support import command
from wtflow_jax.support.errors import shown

app = tyro.extras.SubcommandApp()


def _bars() -> Progress:
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


@app.command(name="check")
def _check(
    layout: Annotated[Positional[str], arg(metavar="NAME")],
    root: Annotated[Positional[Path], arg(metavar="ROOT")],
    categories: tuple[str, ...] = (),
) -> int:
    # What cannot be read at all is said before there are bars.
    find(layout).categories(root)
    tasks: dict[str, TaskID] = {}
    with _bars() as progress:

        def advance(category: str, images: int) -> None:
            if category not in tasks:
                tasks[category] = progress.add_task(shown(category), total=images)
            progress.advance(tasks[category])

        rows = check(layout, root, categories, advance)
    console = Console(highlight=False)
    console.print(table(rows, find(layout).title))
    for row in rows:
        for problem in row.problems:
            console.print(problem, markup=False, soft_wrap=True)
    console.print(shown(closing(rows, find(layout))), markup=False, soft_wrap=True)
    return 0 if all(row.complete for row in rows) else 1


_check.__doc__ = f"""Compare a data set with what was published, and decode each of its files.

Args:
    layout: {", ".join(LAYOUTS)}.
    root: the directory it was unpacked into.
    categories: which of them; left out: all.
"""


@app.command(name="prepare")
def _prepare(
    layout: Annotated[Positional[str], arg(metavar="NAME")],
    root: Annotated[Positional[Path], arg(metavar="ROOT")],
    data_dir: Path,
    categories: tuple[str, ...] = (),
) -> int:
    known = find(layout)
    names = dict.fromkeys(categories or known.categories(root))
    with _bars() as progress:
        for name in names:
            task = progress.add_task(shown(name), total=None)

            def advance(done: int, total: int, task: TaskID = task) -> None:
                progress.update(task, completed=done, total=total)

            if not tfds.prepare(layout, root, data_dir, name, advance):
                progress.update(task, description=f"{shown(name)}: was there", total=1, completed=1)
    console = Console(highlight=False)
    line = f"{known.title}: {', '.join(names)}: take --data {PREPARED}{layout} --root {data_dir}"
    console.print(shown(line), markup=False, soft_wrap=True)
    return 0


_prepare.__doc__ = f"""Store a data set for TensorFlow Datasets: few large files, which also
experiments read (--data {PREPARED}NAME --root DATA_DIR).

Args:
    layout: {", ".join(LAYOUTS)}.
    root: the directory it was unpacked into.
    data_dir: where prepared data sets are kept.
    categories: which of them; left out: all.
"""


def main(arguments: Sequence[str]) -> int:
    """Runs a subcommand.

    Args:
        arguments: of the command line.

    Returns:
        The exit status: 0 complete, 1 not complete or not readable, 130 or 143 stopped.
    """
    return command.status(lambda: app.cli(args=list(arguments), prog="python -m wtflow_jax.data"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
