"""Writes docs/results.md and docs/appendix/results.md from measured results only.

    python docs/document.py                            # from docs/results/*.json
    python docs/document.py --add runs/loss_vs_wt      # first copies its results.json there

For each table of the paper, results.md says whether it was reproduced, reproduced in part, or not
run here and why. Then it has one narrow table per experiment; the appendix has all tables. Comments
on the results are in ``docs/results/NAME.md``: the text above the first line ``---`` goes into
results.md, the text below into the appendix.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import tyro

from wtflow_jax.data import LAYOUTS, PREPARED
from wtflow_jax.lab import experiment, flags, paper, results, views
from wtflow_jax.lab.flags import Setup
from wtflow_jax.support.console import NONE, Table, markdown, number, status
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.files import replacing

DOCS = Path(__file__).absolute().parent
RESULTS = DOCS / "results"
EXPERIMENTS = DOCS.parent / "experiments"
PAGES = "results.md", "appendix/results.md"
"""The files written: the page and its appendix."""
CLOSE = 1.0
"""Points of AUROC within which the paper's mean counts as reproduced."""

NO_DATA = "not run: its images are not at hand"
TIMES = "of an H200: [performance.md](performance.md#on-a-gpu)"
GEOMETRY = "in [geometry.md](geometry.md)"
HELD_OUT = "in [the appendix](appendix/geometry.md#looking-closer)"


System = Callable[[str, Setup], str]
"""Returns the column of the paper's table for a variant and a run's setup."""


def by_map(variant: str, setup: Setup) -> str:
    """Return the paper's name of a flow with the run's WT map."""
    return views.HEADLINE.get(setup.config().flow.wt, "")


def by_variant(variant: str, setup: Setup) -> str:
    """Return the variant, whose name is the paper's."""
    return variant


def by_width(variant: str, setup: Setup) -> str:
    """Return the variant with the run's width, as in Table X."""
    return f"{variant} {dict(setup.config().options)['width']}"


class Entry(NamedTuple):
    """A table of the paper, or a question of our own.

    Attributes:
        numbers: of the paper's tables; empty if the paper has no table.
        title: its subject.
        experiment: the file that runs it; empty if there is no file.
        why: the text shown if there is no results file.
        system: the paper's column to compare with; None if mean AUROC is not compared.
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
    Entry("IX", "inference time", "", TIMES),
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
    Entry("", "held-out choices", "held_out", HELD_OUT),
    Entry("", "theorems on real features", "geometry", GEOMETRY),
    Entry("", "exact fields as a family", "family", GEOMETRY),
    Entry("", "what a network learns", "learned", GEOMETRY),
    Entry("", "how wide a network must be", "narrow", GEOMETRY),
    Entry("", "one default", "rules", "in [default.md](default.md)"),
)


class Run(NamedTuple):
    """A results.json file.

    Attributes:
        name: the file's name without suffix.
        setup: its flags.
        rows: its results.
    """

    name: str
    setup: Setup
    rows: results.Rows


PLACES = ("out", "models", "cache")
LOCAL = ("root", *PLACES, "weights", "resume", "categories")
"""Flags of paths, and flags that ``command`` writes separately."""


def read(path: Path) -> tuple[str, Run]:
    """Return the name of the experiment that wrote a results file, and its contents.

    Raises:
        WTFlowError: the file is not a results file.
    """
    found = results.read(path)
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in found["config"].items()
        if name in flags.known() and name not in PLACES
    }
    if given.get("root") is not None:
        given["root"] = Path(given["root"])
    return found["experiment"], Run(path.stem, flags.setup(given), found["rows"])


def portable(path: Path) -> str:
    """Return a results file without the paths of the machine that wrote it."""
    found = results.read(path)
    config = found["config"]
    for flag, name in (("root", "data"), ("weights", "weights")):
        config[flag] = name if config[flag] is not None else None
    for flag in PLACES:
        config.pop(flag, None)
    # Tables are made again from the rows.
    found.pop("tables", None)
    return json.dumps(found, indent=1)


def command(chosen: experiment.Experiment, setup: Setup, name: str) -> str:
    """Return the command line of a run, with the flags that differ from its defaults.

    Args:
        chosen: the experiment.
        setup: of the run.
        name: the run's directory below ``runs``.
    """
    found = setup.flags()
    # Defaults of other flags depend on these.
    first = ("preset", "smoke", "backbone", "wt", "velocity")
    given = {flag: found[flag] for flag in first} | dict(chosen.given)
    usual = flags.setup(given | {flag: found[flag] for flag in first}).flags()
    usual |= {flag: flags.setup(chosen.given).flags()[flag] for flag in first}
    words = [f"python experiments/{chosen.name}.py"]
    if setup.data.root is not None:
        words.append("--root data")
    order = {flag: i for i, flag in enumerate(flags.known())}
    for flag in sorted(found, key=lambda flag: order[flag]):
        value = found[flag]
        if value == usual.get(flag) or (flag in LOCAL and flag != "categories"):
            continue
        word = "--" + flag.replace("_", "-")
        if isinstance(value, bool):
            words.append(word if value else word.replace("--", "--no-", 1))
        else:
            values = value if isinstance(value, tuple) else (value,)
            words.append(" ".join([word, *map(str, values)]))
    if setup.data.weights is not None:
        words.append("--weights weights")
    if name != chosen.name:
        words.append(f"--out runs/{name}")
    return " ".join(words)


def verdict(entry: Entry, runs: list[Run]) -> str:
    """Return whether a table was reproduced, run in part, or not run."""
    if not runs:
        return entry.why or "not run yet"
    if not entry.numbers:
        return "run"
    runs = [run for run in runs if run.setup.data.root is not None]
    if not runs:
        return "not run: the built-in category alone"
    whole = [run for run in runs if _whole(run)]
    if not whole:
        found = {name: None for run in runs for name in views.names(run.rows, "category")}
        presets = {f"preset {run.setup.run.preset}": None for run in runs}
        return f"partly: {', '.join(found)} alone, {', '.join(presets)}"
    pairs = [pair for run in whole for pair in _means(entry, run)]
    if not pairs or None in pairs:
        return "run in full; see below"
    off = max(abs(ours - theirs) for ours, theirs in filter(None, pairs))
    return "reproduced" if off <= CLOSE else f"run in full, up to {off:.1f} points off"


def _whole(run: Run) -> bool:
    """Return whether a run has the paper's setting and all categories of its data set."""
    setup, config = run.setup, run.setup.config()
    if setup.run.preset != "paper" or setup.run.smoke:
        return False
    usual = setup._replace(asked={k: setup.flags()[k] for k in ("backbone", "wt", "seed")})
    published = LAYOUTS.find(setup.data.data.removeprefix(PREPARED)).published
    complete = set(published) <= set(views.names(run.rows, "category"))
    return config.flags() == usual.config().flags() and complete


def _means(entry: Entry, run: Run) -> Iterator[tuple[float, float] | None]:
    """Yield our mean and the paper's, for each variant and metric; None if one is missing."""
    if entry.system is None:
        return
    theirs = paper.table(entry.numbers.partition(",")[0])
    for variant in views.names(run.rows, "variant"):
        system = entry.system(variant, run.setup)
        for metric, row in views.ROW_IN_PAPER.items():
            if row in theirs:
                figure = theirs[row].get(system)
                ours = views.mean(views.pick(run.rows, variant=variant), metric)
                yield None if figure is None or ours is None else (ours, figure.value)


def categories(entry: Entry, runs: list[Run]) -> Table:
    """Return the results on a data set, one row per category and run, with the paper's AUROC."""
    metrics = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "pixel_aupro": "AUPRO"}
    theirs = [paper.table(name) for name in entry.numbers.split(", ")[1:]] or [{}, {}]
    body = []
    for run in runs:
        for name, part in views.by(run.rows, "category").items():
            ours = [number(views.over_seeds(part, metric)[0]) for metric in metrics]
            rows = [table.get(name, {}).get(by_map("", run.setup)) for table in theirs]
            body.append([name, run.setup.config().features.backbone, *ours])
            body[-1] += [number(row.value) if row else NONE for row in rows]
    columns = ["category", "backbone", *metrics.values(), "paper, image", "paper, pixel"]
    return views.upright(Table(f"{entry.title}, in %", columns, body))


def document() -> tuple[str, str]:
    """Return the page and its appendix.

    Raises:
        WTFlowError: a file in docs/results is not a results file.
    """
    runs: dict[str, list[Run]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        name, run = read(path)
        runs.setdefault(name, []).append(run)
    head, conditions = _notes("head")
    page, appendix = [head], [conditions]
    overview = []
    for entry in ENTRIES:
        name = f"[{entry.title}](#{_anchor(entry)})" if entry.experiment in runs else entry.title
        file = f"`{entry.experiment}.py`" if entry.experiment else NONE
        found = verdict(entry, runs.get(entry.experiment, []))
        overview.append([entry.numbers or "ours", name, file, found])
    for entry in ENTRIES:
        if entry.experiment in runs:
            chosen = experiment.load(EXPERIMENTS, entry.experiment)
            page += _section(entry, chosen, runs[entry.experiment])
            appendix += _in_full(entry, chosen, runs[entry.experiment])
    columns = ("table", "about", "experiment", "here")
    page.append("## What was run\n\n" + _left(columns, overview))
    return _joined(page), _joined(appendix)


def _joined(parts: list[str]) -> str:
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _notes(name: str) -> tuple[str, str]:
    """Return the comments on a run: for the page, and for the appendix."""
    path = RESULTS / f"{name}.md"
    above, _, below = path.read_text().partition("\n---\n") if path.exists() else ("", "", "")
    return above, below


def _heading(entry: Entry) -> str:
    title = entry.title[0].upper() + entry.title[1:]
    return f"{title} (Table {entry.numbers})" if entry.numbers else title


def _anchor(entry: Entry) -> str:
    kept = [c for c in _heading(entry).lower() if c.isalnum() or c in " -"]
    return "".join(kept).replace(" ", "-")


def _left(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _bash(chosen: experiment.Experiment, runs: list[Run]) -> str:
    lines = [command(chosen, run.setup, run.name) for run in runs]
    return "\n".join(["```bash", *lines, "```"])


def _section(entry: Entry, chosen: experiment.Experiment, runs: list[Run]) -> Iterator[str]:
    """Yield the parts of a section of the page."""
    yield f"## {_heading(entry)}"
    if any(row["variant"] or "image_auroc" not in row for run in runs for row in run.rows):
        for run in runs:
            yield markdown(views.narrow(chosen.show(run.setup, run.rows)[0]))
    else:
        yield markdown(categories(entry, runs))
    yield from (_notes(run.name)[0] for run in runs)
    yield _bash(chosen, runs)
    yield f"[All tables](appendix/results.md#{_anchor(entry)})"


def _in_full(entry: Entry, chosen: experiment.Experiment, runs: list[Run]) -> Iterator[str]:
    """Yield the parts of a section of the appendix."""
    yield f"## {_heading(entry)}"
    for run in runs:
        yield _bash(chosen, [run])
        for table in map(views.upright, chosen.show(run.setup, run.rows)):
            yield from map(markdown, views.parts(table))
        yield _notes(run.name)[1]


def main(add: tuple[Path, ...] = (), check: bool = False) -> int:
    """Write docs/results.md and docs/appendix/results.md.

    Args:
        add: directories of runs; first copy their results.json to docs/results.
        check: write nothing; exit with status 1 if a page is not up to date.

    Raises:
        WTFlowError: a file is not a results file, or is from a smoke run.
    """
    for run in add:
        name, found = read(run / results.FILE)
        if found.setup.run.smoke:
            raise WTFlowError(f"{run}: a smoke run; its figures mean nothing")
        with replacing(RESULTS / f"{run.name}.json") as part:
            part.write_text(portable(run / results.FILE))
        print(f"{run}: {name}, copied to {RESULTS / run.name}.json")
    differ = 0
    for name, text in zip(PAGES, document(), strict=True):
        target = DOCS / name
        if not check:
            target.write_text(text)
        elif not target.exists() or target.read_text() != text:
            print(f"{target}: not up to date with docs/results; run without --check")
            differ = 1
    return differ


if __name__ == "__main__":
    sys.exit(status(lambda: tyro.cli(main, description=__doc__)))
