"""``python -m wtflow_jax.datasets``: check a data set, or prepare it for TensorFlow Datasets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from tyro.conf import Positional

from wtflow_jax.data import tfds
from wtflow_jax.data.check import check
from wtflow_jax.data.layouts import LAYOUTS, PREPARED
from wtflow_jax.support import console
from wtflow_jax.support.errors import shown
from wtflow_jax.support.helptext import arg

app = tyro.extras.SubcommandApp()
Name = Annotated[Positional[str], arg(metavar="NAME", help=", ".join(LAYOUTS))]
Root = Annotated[Positional[Path], arg(metavar="ROOT", help="the directory it was unpacked into")]
Some = Annotated[tuple[str, ...], arg(help="which of them; left out: all")]
Place = Annotated[Path, arg(help="where prepared data sets are kept")]


@app.command(name="check")
def _check(layout: Name, root: Root, categories: Some = ()) -> int:
    """Compare a data set with what was published, and decode each of its files."""
    known = LAYOUTS.find(layout)
    # An unreadable data set is an error before progress bars appear.
    known.categories(root)
    with console.bars() as track:
        rows = check(layout, root, categories, track)
    names = (Column(heading, no_wrap=True) for heading in ("category", "split"))
    figures = (Column(heading, justify="right") for heading in ("found", "published"))
    table = Table(*names, *figures, "verdict", title=known.title)
    for row in rows:
        counts = ["" if count is None else str(count) for count in (row.found, row.published)]
        # Brackets in a path are not markup.
        table.add_row(escape(shown(row.category)), row.split, *counts, escape(row.verdict))
    amiss = dict.fromkeys(row.category for row in rows if not row.complete)
    if amiss:
        closing = f"not complete: see {', '.join(amiss)}"
    elif known.published:
        closing = f"complete, as published ({known.source})"
    else:
        found = ", ".join(f"{row.found} {row.split}" for row in rows)
        closing = f"no published counts to compare with; found {found}"
    Console(highlight=False).print(table)
    problems = [problem for row in rows for problem in row.problems]
    print(*map(shown, [*problems, f"{known.title}: {closing}"]), sep="\n")
    return 1 if amiss else 0


@app.command(name="prepare")
def _prepare(layout: Name, root: Root, data_dir: Place, categories: Some = ()) -> int:
    """Store a data set for TensorFlow Datasets, in a few large files.

    Experiments read them with --data tfds:NAME --root DATA_DIR.
    """
    known = LAYOUTS.find(layout)
    names = dict.fromkeys(categories or known.categories(root))
    with console.bars() as track:
        for name in names:
            if not tfds.prepare(layout, root, data_dir, name, track):
                track(f"{name}: already prepared", 1)()
    take = f"take --data {PREPARED}{layout} --root {data_dir}"
    print(shown(f"{known.title}: {', '.join(names)}: {take}"))
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run a subcommand and return the exit status: 0 complete, 1 not complete or not readable."""
    prog = "python -m wtflow_jax.datasets"
    return console.status(lambda: app.cli(args=list(arguments), prog=prog))
