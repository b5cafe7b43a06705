"""What all experiments share: flags, the loop over rows, and their files."""

import contextlib
import errno
import hashlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import tyro
from rich.console import Console

import wtflow_jax
from wtflow_jax import data as datasets
from wtflow_jax.detector.config import LAYOUT, Config, defaults, variant
from wtflow_jax.lab import categories, measuring, models, views
from wtflow_jax.lab.loader import Loader
from wtflow_jax.support import command, compilation, tables, untrusted
from wtflow_jax.support.atomic import alone, sweep, written
from wtflow_jax.support.errors import WTFlowError, shown
from wtflow_jax.training import sharding

Results = dict[str, Any]
NEEDED = {"category", "variant", "seed", "settings"}
"""What a row is told from others by."""
Changes = Mapping[str, Any]


class Experiment(NamedTuple):
    """What one file of this directory is.

    Attributes:
        name: results go to ``runs/NAME`` unless ``--out`` says otherwise.
        description: what ``--help`` says.
        show: the closing tables, of the config and the rows of ``results.json``.
        variants: of the run's config, changes of it by what a row is called; each category is run
            with each of them.
        measure: what is done for a row, and its entries.
        given: the experiment's own defaults of ``data``, ``wt``, ``velocity`` and ``seeds``.
    """

    name: str
    description: str
    show: Callable[[Config, views.Rows], Sequence[tables.Table]]
    variants: Callable[[Config], Mapping[str, Changes]] = lambda config: {"": {}}
    measure: Callable[[measuring.Job], Results] = measuring.measure
    given: Config = Config()


def parse(experiment: Experiment, arguments: Sequence[str]) -> Config:
    """Read flags on top of the defaults of the preset they name."""
    given = replace(experiment.given, out=Path("runs") / experiment.name)

    def read(default: Config) -> Config:
        description = experiment.description
        return tyro.cli(Config, args=list(arguments), default=default, description=description)

    kept = {name: getattr(given, name) for name in ("out", "data", "seeds")}
    return read(replace(defaults(read(given)), **kept))


def main(experiment: Experiment, arguments: Sequence[str]) -> int:
    """Run an experiment from the command line and return its exit status."""
    return command.status(
        lambda: _main(experiment, arguments),
        again="--resume goes on where it stopped",
        advice="free or name another place by --out, --models or --cache",
    )


def _main(experiment: Experiment, arguments: Sequence[str]) -> int:
    config = parse(experiment, arguments)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # What categories share is compiled for the first and loaded for the others; a cache may be
        # of several users, and this part of it is not.
        compilation.keep(config.cache / f"compiled-{os.getuid()}")
    if config.coordinator is not None:
        # The others wait for a process that does not join: what else is wrong is told later.
        place = ("coordinator", "processes", "process")
        Config(**{name: getattr(config, name) for name in place}).check()
        print(f"{config.coordinator}: waiting for all processes to join", file=sys.stderr)
        sharding.connect(config.coordinator, config.processes, config.process)
        sharding.agree({k: v for k, v in asdict(config).items() if k != "process"})
    results = run(experiment, config)
    console = Console(quiet=not sharding.first())
    for table in experiment.show(config, results["rows"]):
        tables.show(table, console)
    for reason in dict.fromkeys(r for row in results["rows"] for r in row.get("undefined", ())):
        console.print(shown(reason), markup=False, soft_wrap=True)
    where = f"written to {config.out / 'results.json'}; models in {config.models}"
    console.print(shown(where), markup=False, soft_wrap=True, highlight=False)
    sharding.meet("done")
    return 0


def _comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    elsewhere = {"resume", "cache", "out", "models"} | LAYOUT
    return {k: v for k, v in config.items() if k not in elsewhere}


def parse_rows(content: bytes) -> tuple[Results, views.Rows]:
    """Return what a results file says, and its rows, told apart from other things.

    Raises:
        ValueError: it is another file.
    """
    try:
        results = untrusted.parse(content)
        for row in (rows := results["rows"]):
            texts = [row.get(name, "") for name in ("category", "variant", "scores")]
            texts += row.get("undefined", ())
            if not (row.keys() >= NEEDED and type(row["seed"]) is int):
                raise ValueError("a row without a seed")
            if not all(isinstance(text, str) for text in texts):
                raise ValueError("a row of names that are no text")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("no rows") from error
    return results, rows


def _check_figures(experiment: Experiment, config: Config, rows: views.Rows) -> None:
    """Raise WTFlowError where rows that were found have not the figures of the tables."""
    try:
        if rows:
            experiment.show(config, rows)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        path = config.out / "results.json"
        raise WTFlowError(f"{path}: is no results file; give another --out") from error


def _open_out(name: str, config: Config) -> Results:
    """Return the results so far: those of the run to resume, or empty ones."""
    path = config.out / "results.json"
    as_json = json.loads(json.dumps(asdict(config), default=str))
    fresh = {"experiment": name, "config": as_json, "rows": []}
    found = {file.relative_to(config.out).parts[0] for file in written(config.out)}
    if not found:
        return fresh
    if not config.resume and found != {path.name}:
        raise WTFlowError(f"{config.out}: is not empty; give --resume, or another --out")
    if not path.exists():
        raise WTFlowError(
            f"{config.out}: has no results.json, so its flags are not known; give another --out"
        )
    try:
        results, rows = parse_rows(path.read_bytes())
        was, now = _comparable(results["config"]), _comparable(as_json)
        writer = results["experiment"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WTFlowError(f"{path}: is no results file; give another --out") from error
    if not config.resume:
        # A run that ended before its first row, of a bad image for instance.
        if not rows:
            return fresh
        raise WTFlowError(f"{config.out}: is not empty; give --resume, or another --out")
    if writer != name:
        raise WTFlowError(f"{path}: was written by {writer}.py, not {name}.py; give another --out")
    changed = [k for k in now if was.get(k) != now[k] and k != "seeds"]
    if changed:
        k = changed[0]
        raise WTFlowError(
            f"{path}: was run with {k} = {was.get(k)}, not {now[k]}; "
            "give the same flags to --resume, or another --out"
        )
    return results | {"config": as_json}


def _code(experiment: Experiment) -> str:
    """Return a digest of the code that decides a row: another's rows are measured anew."""
    here, library = Path(__file__).parent, Path(wtflow_jax.__file__).parent
    own = inspect.getfile(inspect.unwrap(experiment.measure))
    paths = [
        library / "decision.py",
        library / "figures.py",
        Path(own),
        here / "loader.py",
        here / "measuring.py",
    ]
    for package in ("backbones", "datasets", "metrics"):
        paths += sorted((library / package).glob("*.py"))
    return hashlib.sha256((models.code() + models.digest_of(*paths)).encode()).hexdigest()[:12]


def check(experiment: Experiment, config: Config) -> None:
    """Raise WTFlowError if a flag of a row is out of its range."""
    for changes in experiment.variants(config).values():
        variant(config, **changes).check()
    datasets.parse_size(config.image_size)


def run(experiment: Experiment, config: Config) -> Results:
    """Go through the rows, writing ``results.json`` and ``table.md`` after each.

    Returns:
        The contents of ``results.json``.

    Raises:
        WTFlowError: bad input, in one line.
    """
    check(experiment, config)
    with alone(config.out) if sharding.first() else contextlib.nullcontext():
        return _run(experiment, config)


def _run(experiment: Experiment, config: Config) -> Results:
    seeds = range(config.seed, config.seed + config.seeds)
    variants = experiment.variants(config)
    results = _open_out(experiment.name, config)
    if sharding.first():
        sweep(config.out)
    # Before minutes of work: are there as many devices?
    sharding.layout(*config.mesh)
    # Before another process of the run writes there.
    sharding.meet("opened")
    code = _code(experiment)

    def settings(label: str, category: str, seed: int) -> tuple[Config, dict[str, str]]:
        """Return the config of a row and what is otherwise in it."""
        own = categories.with_settings(variant(config, **variants[label], seed=seed), category)
        values = {field.name: getattr(own, field.name) for field in fields(Config)}
        differ = {k: str(v) for k, v in values.items() if k != "seed" and v != getattr(config, k)}
        return own, differ

    def current(row: measuring.Row) -> bool:
        if row.get("code") != code or row["variant"] not in variants:
            return False
        if "scores" in row and not (config.out / row["scores"]).is_file():
            return False
        return row["settings"] == settings(row["variant"], row["category"], row["seed"])[1]

    results["rows"] = [row for row in results["rows"] if current(row)]
    _check_figures(experiment, config, results["rows"])
    with sharding.turns("categories"):
        opened = categories.opened(config)
    todo = [
        (category, label, seed)
        for category in opened
        for label in variants
        for seed in seeds
        if not views.pick(results["rows"], category=category.name, variant=label, seed=seed)
    ]
    if not todo:
        return results
    # Before minutes of work: can all of it be written?
    for directory in (config.out, config.models, config.cache / "features"):
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(directory))
    # Before the first row too: --resume compares its flags with these.
    _write(experiment, config, results)
    loader, previous = Loader(), todo[0][0].name
    for category, label, seed in todo:
        if category.name != previous:
            # Programs have its numbers of images in their shapes, and each takes some MiB.
            jax.clear_caches()
            previous = category.name
        out = config.out / "-".join(
            [category.name, *[label] * bool(label), *[str(seed)] * (len(seeds) > 1)]
        ).replace(" ", "_")
        own, differ = settings(label, category.name, seed)
        job = measuring.Job(own, category, loader, out)
        row = {"category": category.name, "variant": label, "seed": seed, "settings": differ}
        row |= {"code": code, "environment": models.environment()}
        results["rows"].append(row | experiment.measure(job))
        _write(experiment, config, results)
    return results


def merge(experiment: Experiment, config: Config, rows: views.Rows) -> None:
    """Add rows that were measured elsewhere to the results in ``config.out``.

    Raises:
        WTFlowError: the directory holds something else, or another run is writing there.
    """
    with alone(config.out):
        results = _open_out(experiment.name, replace(config, resume=True))
        names = ("category", "variant", "seed")
        # What is new takes the place of what other code had measured.
        both = {tuple(row[name] for name in names): row for row in [*results["rows"], *rows]}
        results["rows"] = list(both.values())
        _check_figures(experiment, config, results["rows"])
        _write(experiment, config, results)


def _write(experiment: Experiment, config: Config, results: Results) -> None:
    shown = experiment.show(config, results["rows"]) if results["rows"] else []
    results["tables"] = [table._asdict() for table in shown]
    models.write(config.out / "results.json", json.dumps(results, indent=1))
    if shown:
        models.write(config.out / "table.md", "\n".join(map(tables.markdown, shown)))
