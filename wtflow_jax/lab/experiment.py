"""An experiment is a value: its variants, how to measure a row, and how to show rows as tables."""

import contextlib
import runpy
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from wtflow_jax.detector.config import Config
from wtflow_jax.lab import category, flags, measuring, paper, results, store, views
from wtflow_jax.lab.category import Loader
from wtflow_jax.lab.flags import Setup
from wtflow_jax.lab.job import Job
from wtflow_jax.lab.results import Row, Rows
from wtflow_jax.support import compilation
from wtflow_jax.support.console import Table, bars, show, status
from wtflow_jax.support.errors import WTFlowError, shown
from wtflow_jax.support.files import alone
from wtflow_jax.training import sharding

Changes = Mapping[str, Any]
"""Flags of a variant, by name."""
Variants = Mapping[str, Changes]
"""The runs of each category: a row's label to its flags."""


class Experiment(NamedTuple):
    """One file of ``experiments/``."""

    name: str  #: the file's, without .py
    description: str | None  #: the text of ``--help``
    show: Callable[[Setup, Rows], Sequence[Table]]  #: makes the final tables from the rows
    variants: Callable[[Setup], Variants] = lambda setup: {"": {}}  #: makes the variants of a run
    measure: Callable[[Job], Row] = measuring.measure  #: makes the entries of a row
    given: Mapping[str, Any] = {}  #: the experiment's own defaults, by flag

    def parse(self, arguments: Sequence[str]) -> Setup:
        """Read flags."""
        given = {"out": Path("runs") / self.name, **self.given}
        return flags.parse(arguments, given, self.description or "")

    def command(self, module: str) -> None:
        """Run from the command line and exit, if ``module`` is ``__main__``."""
        if module == "__main__":
            sys.exit(main(self))

    def tables(self, setup: Setup, rows: Rows) -> Sequence[Table]:
        """Return the tables of stored rows; raise WTFlowError if they are not this experiment's."""
        try:
            return self.show(setup, rows) if rows else []
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            path = setup.run.out / results.FILE
            raise WTFlowError(f"{path}: is not a results file; give another --out") from error


def data_set(
    name: str,
    description: str | None,
    means: str | None = None,
    image: str | None = None,
    pixel: str | None = None,
    **given: Any,
) -> Experiment:
    """Return the experiment of a data set: one model per category, its metrics, maps and pictures.

    ``means``, ``image`` and ``pixel`` are the numbers of the paper's tables: means over categories,
    image AUROC by category and pixel AUROC by category. None if the paper has no such table.
    """
    show = partial(views.data_set, means, image, pixel)
    return Experiment(name, description, show, measure=measuring.measure_and_draw, given=given)


def grid(**choices: Iterable[Any]) -> Variants:
    """Return one variant per combination of the flags' values, named by the values."""

    def called(values: Iterable[Any]) -> str:
        return " ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)

    return {called(v): dict(zip(choices, v, strict=True)) for v in product(*choices.values())}


def comparison(
    name: str,
    description: str | None,
    variants: Callable[[Setup], Variants],
    titles: tuple[str, str],
    table: str | None = None,
    extra: Sequence[str] = (),
    **given: Any,
) -> Experiment:
    """Return the experiment that compares variants by image and pixel AUROC.

    Args:
        name: name of its file.
        description: the text of ``--help``.
        variants: makes the variants from the run's setup.
        titles: title of the table, with flags in braces (``{backbone}``), and of its first column.
        table: number of the paper's table; None if there is no such table.
        extra: further metrics to show.
        given: the experiment's own defaults, by flag.
    """

    def show(setup: Setup, rows: Rows) -> list[Table]:
        title, heading = titles[0].format(**setup.flags()), titles[1]
        theirs = paper.auroc(table) if table else {}
        return [views.by_variant(rows, title, heading, theirs, extra)]

    return Experiment(name, description, show, variants, given=given)


def load(directory: Path, name: str) -> Experiment:
    """Return the experiment of a file; raise WTFlowError if it does not exist."""
    if name not in names(directory):
        raise WTFlowError(f"{name}: no such experiment; choose from {', '.join(names(directory))}")
    return runpy.run_path(str(directory / f"{name}.py"))["EXPERIMENT"]


def names(directory: Path) -> list[str]:
    """Return the names of the experiments in a directory."""
    marked = "EXPERIMENT = "
    return [path.stem for path in sorted(directory.glob("*.py")) if marked in path.read_text()]


def main(experiment: Experiment, arguments: Sequence[str] | None = None) -> int:
    """Run an experiment from the command line and return its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    return status(
        lambda: _main(experiment, words),
        again="--resume goes on where it stopped",
        advice="free space or choose another directory by --out, --models or --cache",
    )


def _main(experiment: Experiment, arguments: Sequence[str]) -> int:
    setup = experiment.parse(arguments)
    devices = setup.devices
    # Programs that categories share are compiled for the first and loaded for the others.
    compilation.keep(setup.run.cache / "compiled")
    if devices.coordinator is not None:
        # Before joining check only device flags: the other processes wait for one that fails here.
        devices.check()
        print(f"{devices.coordinator}: waiting for all processes to join", file=sys.stderr)
        sharding.connect(devices.coordinator, devices.processes, devices.process)
        sharding.agree({k: v for k, v in setup.flags().items() if k != "process"})
    flags.check(setup, experiment.variants(setup))
    with alone(setup.run.out) if sharding.first() else contextlib.nullcontext():
        rows = _run(experiment, setup)
    console = Console(quiet=not sharding.first())
    for table in experiment.show(setup, rows):
        show(table, console)
    for reason in dict.fromkeys(reason for row in rows for reason in row.get("undefined", ())):
        console.print(shown(reason), markup=False, soft_wrap=True)
    if setup.run.smoke:
        console.print(
            "--smoke: few images, a small network; the figures mean nothing", markup=False
        )
    where = f"written to {setup.run.out / results.FILE}; models in {setup.run.models}"
    console.print(shown(where), markup=False, soft_wrap=True, highlight=False)
    sharding.meet("done")
    return 0


def _run(experiment: Experiment, setup: Setup) -> list[Row]:
    """Go through the rows, writing ``results.json`` after each, and return all of them."""
    found, variants = results.begin(experiment.name, setup), experiment.variants(setup)
    out, usual = setup.run.out, setup.config().flags()
    # Before minutes of work: fail if there are too few devices.
    layout = sharding.layout(*setup.devices.mesh)
    # Every process has read the directory before the first one writes to it.
    sharding.meet("opened")
    code = store.code(experiment.measure)

    with sharding.turns("categories"):
        opened = {one.name: one for one in category.opened(setup)}

    def settings(label: str, name: str, seed: int) -> tuple[Config, dict[str, str]]:
        """Return the config of a row, and its flags that differ from the run's."""
        asked = setup.config(**variants[label], seed=seed)
        own = category.with_settings(asked, setup.data, opened[name])
        values = {k: str(v) for k, v in own.flags().items() if v != usual.get(k) and k != "seed"}
        return own, values

    def current(row: Mapping[str, Any]) -> bool:
        return (
            row.get("code") == code
            and row["variant"] in variants
            and row["category"] in opened
            and ("scores" not in row or (out / row["scores"]).is_file())
            and row["settings"] == settings(row["variant"], row["category"], row["seed"])[1]
        )

    def write() -> None:
        if sharding.first():
            results.write(out, found, experiment.tables(setup, rows))

    found["rows"] = rows = [row for row in found["rows"] if current(row)]
    seeds = range(usual["seed"], usual["seed"] + setup.run.seeds)
    todo = [
        (one, label, seed)
        for one, label, seed in product(opened.values(), variants, seeds)
        if not views.pick(rows, category=one.name, variant=label, seed=seed)
    ]
    if not todo:
        return rows
    # Before minutes of work: fail if a directory is not writable.
    flags.writable(out, setup.run.models, setup.run.cache / "features")
    # Write before the first row too: --resume compares its flags with the stored ones.
    write()
    loader = Loader(setup)
    for one, label, seed in todo:
        config, differ = settings(label, one.name, seed)
        row = {"category": one.name, "variant": label, "seed": seed, "settings": differ}
        row |= {"code": code, "environment": store.environment()}
        parts = filter(None, (one.name, label, str(seed) if len(seeds) > 1 else ""))
        to = out / "-".join(parts).replace(" ", "_")
        with bars() as track:
            row |= experiment.measure(Job(config, setup, one, loader, to, layout, track))
        rows.append(row)
        write()
    return rows
