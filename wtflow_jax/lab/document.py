"""Writes docs/results.md from results.json files; nothing is in it that was not run.

    python experiments/document.py                            # of docs/results/*.json
    python experiments/document.py --add runs/loss_vs_wt      # copies its results.json there first

For every table of the paper it says whether it was reproduced, in part, or not run here and why;
then come our tables. What is to be read from them stands in ``docs/results/NAME.md`` beside the
results, and is copied in as it is.
"""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import tyro

from wtflow_jax.data import LAYOUTS
from wtflow_jax.detector.config import Config, defaults
from wtflow_jax.lab import interrupts, models, paper, views
from wtflow_jax.support import tables
from wtflow_jax.support.errors import WTFlowError

DOCS = Path(__file__).parents[1] / "docs"
CLOSE = 1.0
"""Points of AUROC within which the paper's mean counts as reproduced."""

NO_DATA = "not run: its images are not at hand"
NO_GPU = "not run: needs a GPU, and none was at hand"
GEOMETRY = "in [geometry.md](geometry.md)"


System = Callable[[str, Config], str]
"""Of a variant and a run's config, the name of the column in the paper's table."""


def by_map(variant: str, config: Config) -> str:
    """Return the paper's name of a flow with the run's WT map."""
    return views.HEADLINE.get(config.wt, "")


def by_variant(variant: str, config: Config) -> str:
    """Return the variant, which bears the paper's name."""
    return variant


def by_width(variant: str, config: Config) -> str:
    """Return the variant at the run's width, as Table X has it."""
    return f"{variant} {config.width}"


class Entry(NamedTuple):
    """A table of the paper, or a question of our own.

    Attributes:
        numbers: of the paper's tables; empty where the paper has none.
        title: what it is about.
        experiment: the file that runs it; empty where there is none.
        why: what is said where there is no results file.
        system: what a run is compared with; None where not by means of AUROC.
    """

    numbers: str
    title: str
    experiment: str
    why: str = ""
    system: System | None = None


ENTRIES = (
    Entry("I, S-VIII, S-IX", "MVTec AD", "mvtec", system=by_map),
    Entry("II, S-X, S-XI", "VisA", "visa", NO_DATA, by_map),
    Entry("III", "MVTec LOCO AD", "loco", NO_DATA, by_map),
    Entry("IV, S-XV, S-XVI", "width of the network", "ablation_width", system=by_variant),
    Entry("V", "MPDD", "mpdd", NO_DATA, by_map),
    Entry("VI", "MVTec 3D-AD", "mvtec3d", system=by_map),
    Entry("VII", "solver steps", "solver_steps"),
    Entry("VIII", "target distributions", "ablation_target", system=by_variant),
    Entry("IX", "inference time", "", f"{NO_GPU}; on a CPU: [performance.md](performance.md)"),
    Entry("X", "loss by WT map", "loss_vs_wt", system=by_width),
    Entry("XI", "placement of the norm", "ablation_placement", system=by_variant),
    Entry("S-VII", "backbones", "backbones", system=by_variant),
    Entry("S-XII to S-XIV", "radii on the way", "radial", GEOMETRY),
    Entry("", "time laws", "time_law"),
    Entry("", "seeds", "seeds"),
    Entry("", "start radius", "start_radius"),
    Entry("", "improvements", "improvements"),
    Entry("", "pooling", "pooling"),
    Entry("", "BTAD", "btad", NO_DATA),
    Entry("", "magnetic tiles", "mtd", NO_DATA),
    Entry("", "KolektorSDD", "kolektor", NO_DATA),
    Entry("", "images of your own", "folder", "not run: they are yours"),
    Entry("", "the exact field", "exact_field", GEOMETRY),
    Entry("", "WT maps and velocities", "velocities", GEOMETRY),
    Entry("", "held-out choices", "held_out", GEOMETRY),
    Entry("", "theorems on real features", "geometry", GEOMETRY),
)


class Run(NamedTuple):
    """A results.json file.

    Attributes:
        name: of the file, without suffix.
        config: its flags.
        rows: its results.
    """

    name: str
    config: Config
    rows: views.Rows


PATHS = ("root", "out", "models", "cache")
"""Flags that are paths."""


def read(path: Path) -> tuple[str, Run]:
    """Return the experiment that wrote a results file, and its contents.

    Raises:
        WTFlowError: it is not one.
    """
    try:
        results = json.loads(path.read_text())
        known = {field.name for field in fields(Config)}
        flags = {name: value for name, value in results["config"].items() if name in known}
        for name, value in flags.items():
            if isinstance(value, list):
                flags[name] = tuple(value)
            elif name in PATHS and value is not None:
                flags[name] = Path(value)
        run = Run(path.stem, Config(**flags), results["rows"])
        return results["experiment"], run
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WTFlowError(f"{path}: is no results file; run its experiment again") from error


def portable(path: Path) -> str:
    """Return a results file without the paths of the machine that wrote it."""
    results = json.loads(path.read_text())
    config = results["config"]
    for flag, name in (("root", "data"), ("weights", "weights")):
        config[flag] = name if config[flag] is not None else None
    for flag in ("out", "models", "cache"):
        config.pop(flag, None)
    # They are made of the rows again.
    results.pop("tables", None)
    return json.dumps(results, indent=1)


def command(experiment: str, config: Config, name: str) -> str:
    """Return the command line of a run, with the flags that differ from its defaults.

    Args:
        experiment: which.
        config: its flags.
        name: where its results go in ``runs``.
    """
    given = importlib.import_module(experiment).EXPERIMENT.given
    usual = replace(defaults(config), data=given.data, seeds=given.seeds)
    # These are defaults that others follow from.
    usual = replace(
        usual, preset="small", backbone=Config.backbone, wt=given.wt, velocity=given.velocity
    )
    words = [f"python experiments/{experiment}.py"]
    for field in fields(Config):
        value = getattr(config, field.name)
        if value == getattr(usual, field.name) or field.name in _LOCAL:
            continue
        flag = "--" + field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            values = value if isinstance(value, tuple) else (value,)
            words.append(" ".join([flag, *map(str, values)]))
    if config.root is not None:
        words.insert(1, "--root data")
    if config.weights is not None:
        words.append("--weights weights")
    if name != experiment:
        words.append(f"--out runs/{name}")
    return " ".join(words)


_LOCAL = (*PATHS, "weights", "resume")


def verdict(entry: Entry, runs: list[Run]) -> str:
    """Return whether a table was reproduced, in part, or not run."""
    if not runs:
        return entry.why or "not run yet"
    if not entry.numbers:
        return "run"
    runs = [run for run in runs if run.config.root is not None]
    if not runs:
        return "not run: the built-in category alone"
    whole = [run for run in runs if _whole(run)]
    if not whole:
        found = {name: None for run in runs for name in views.names(run.rows, "category")}
        presets = {f"preset {run.config.preset}": None for run in runs}
        return f"partly: {', '.join(found)} alone, {', '.join(presets)}"
    pairs = [pair for run in whole for pair in _means(entry, run)]
    if not pairs or None in pairs:
        return "run in full; see below"
    off = max(abs(ours - theirs) for ours, theirs in filter(None, pairs))
    return "reproduced" if off <= CLOSE else f"run in full, up to {off:.1f} points off"


def _whole(run: Run) -> bool:
    """Return whether it is the paper's setting, over all the categories of its data set."""
    config = run.config
    usual = defaults(config)
    decisive = {field.name for field in fields(Config)} - models.ELSEWHERE - {"seed"}
    same = all(getattr(config, name) == getattr(usual, name) for name in decisive)
    published = LAYOUTS[config.data.removeprefix("tfds:")].published
    complete = set(published) <= set(views.names(run.rows, "category"))
    as_published = config.preset == "paper" and config.velocity == "unet" and not config.smoke
    return as_published and same and complete


def _means(entry: Entry, run: Run) -> Iterator[tuple[float, float] | None]:
    """Yield our mean and the paper's, for each variant and metric; None where one is missing."""
    if entry.system is None:
        return
    theirs = paper.table(entry.numbers.partition(",")[0])
    for variant in views.names(run.rows, "variant"):
        system = entry.system(variant, run.config)
        for metric, row in views.ROW_IN_PAPER.items():
            if row in theirs:
                figure = theirs[row].get(system)
                ours = views.mean(views.pick(run.rows, variant=variant), metric)
                yield None if figure is None or ours is None else (ours, figure.value)


def document(directory: Path) -> str:
    """Return the document.

    Args:
        directory: of the results files and of what is to be read from them.

    Raises:
        WTFlowError: a file there is no results file.
    """
    runs: dict[str, list[Run]] = {}
    for path in sorted(directory.glob("*.json")):
        experiment, run = read(path)
        runs.setdefault(experiment, []).append(run)
    parts = [(directory / "head.md").read_text().rstrip()]
    overview = []
    for entry in ENTRIES:
        name = f"[{entry.title}](#{_anchor(entry)})" if entry.experiment in runs else entry.title
        file = f"`{entry.experiment}.py`" if entry.experiment else tables.NONE
        found = verdict(entry, runs.get(entry.experiment, []))
        overview.append([entry.numbers or "ours", name, file, found])
    columns = ("table", "about", "experiment", "here")
    parts.append("## What was run\n\n" + _left(columns, overview))
    for entry in ENTRIES:
        if entry.experiment in runs:
            parts += _section(entry, runs[entry.experiment], directory)
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _heading(entry: Entry) -> str:
    title = entry.title[0].upper() + entry.title[1:]
    return f"{title} (Table {entry.numbers})" if entry.numbers else title


def _anchor(entry: Entry) -> str:
    kept = [c for c in _heading(entry).lower() if c.isalnum() or c in " -"]
    return "".join(kept).replace(" ", "-")


def _left(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _section(entry: Entry, runs: list[Run], directory: Path) -> Iterator[str]:
    yield f"## {_heading(entry)}"
    for run in runs:
        yield f"```bash\n{command(entry.experiment, run.config, run.name)}\n```"
        experiment = importlib.import_module(entry.experiment).EXPERIMENT
        yield from map(tables.markdown, experiment.show(run.config, run.rows))
        note = directory / f"{run.name}.md"
        if note.exists():
            yield note.read_text()


def main(add: tuple[Path, ...] = (), check: bool = False) -> int:
    """Write docs/results.md.

    Args:
        add: directories of runs whose results.json is first copied to docs/results.
        check: write nothing; exit status 1 where the document is not up to date.
    """
    directory, target = DOCS / "results", DOCS / "results.md"
    try:
        for run in add:
            experiment, found = read(run / "results.json")
            if found.config.smoke:
                raise WTFlowError(f"{run}: a smoke run; its figures mean nothing")
            models.write(directory / f"{run.name}.json", portable(run / "results.json"))
            print(f"{run}: {experiment}, copied to {directory / run.name}.json")
        text = document(directory)
    except WTFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if check:
        same = target.exists() and target.read_text() == text
        print(f"{target}: {'up to date' if same else 'differs from docs/results; write it anew'}")
        return int(not same)
    target.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main, description=__doc__))
