"""Rows of results as tables, with the paper's figures beside ours."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from wtflow_jax.data import LAYOUTS
from wtflow_jax.detector.config import Config
from wtflow_jax.lab import paper
from wtflow_jax.metrics import summary
from wtflow_jax.support.tables import NONE, Table, difference, number


def best(values: Mapping[str, float | None]) -> str:
    """Return the name of the highest value."""
    return max(values, key=lambda name: values[name] or 0.0)


Rows = Sequence[Mapping[str, Any]]


def pick(rows: Rows, **wanted: Any) -> Rows:
    """Return the rows whose entries are as wanted."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def names(rows: Rows, column: str) -> list[Any]:
    """Return a column's values in order, each once."""
    return list(dict.fromkeys(row[column] for row in rows))


def over_seeds(rows: Rows, metric: str) -> tuple[float | None, float | None]:
    """Return mean and std (of the seeds run, not an estimate of more).

    Of one seed, the mean and std over its last evaluated epochs.
    """
    values = [row[metric] for row in rows if row.get(metric) is not None]
    if not values or len(values) < len(rows):
        return None, None
    if len(values) == 1:
        std = rows[0].get(f"{metric}_std")
        return values[0], None if rows[0].get("loss") is None else std
    return float(np.mean(values)), float(np.std(values))


def mean(rows: Rows, metric: str) -> float | None:
    """Return the mean over categories of the means over seeds."""
    each = [over_seeds(pick(rows, category=name), metric)[0] for name in names(rows, "category")]
    known = [value for value in each if value is not None]
    return float(np.mean(known)) if known and len(known) == len(each) else None


PaperTable = Mapping[str, Mapping[str, paper.Figure]]

HEADLINE = {"none": "rFM", "batch_norm": "WT-Flow (BN)", "layer_norm": "WT-Flow (LN)"}
"""The paper's name of a flow with each of its WT maps."""
ROW_IN_PAPER = {"image_auroc": "image", "pixel_auroc": "pixel"}


def by_category(
    rows: Rows, metric: str, title: str, number_in_paper: str | None, ours: str
) -> Table:
    """Return one metric, a row a category: ours, its last epoch, every system of the paper's.

    Args:
        rows: of an experiment's results, with one variant.
        metric: which, ``image_auroc`` for instance.
        title: of the table.
        number_in_paper: the table that has the figures a category, or only means, or None.
        ours: the paper's name for what was run; the difference is to it.
    """
    theirs = paper.table(number_in_paper) if number_in_paper else {}
    theirs = {name: theirs[name] for name in names(rows, "category") if name in theirs}
    systems = list(next(iter(theirs.values()))) if theirs else []
    first = [ours] if ours in systems else []
    others = [system for system in systems if system not in first]
    columns = ["category", "ours", "last epoch"]
    columns += [f"paper, {name}" for name in first] + ["difference"] * bool(first) + others
    body = []
    categories = names(rows, "category")
    for name in [*categories, *["mean"] * (len(categories) > 1)]:
        of_name = pick(rows, category=name) if name != "mean" else rows
        if name == "mean":
            value, std = mean(rows, metric), None
            final = mean(rows, f"{metric}_final")
            # Of the same categories, which may be a few of theirs.
            figures = {system: _mean(theirs, categories, system) for system in systems}
        else:
            value, std = over_seeds(of_name, metric)
            final, _ = over_seeds(of_name, f"{metric}_final")
            figures = theirs.get(name, {})
        cells = [name, number(value, std), number(final)]
        if first:
            figure = figures.get(ours)
            cells += [_figure(figure), difference(value, figure.value if figure else None)]
        body.append(cells + [_figure(figures.get(system)) for system in others])
    return Table(title, columns, body, [_spread(rows)])


def _mean(theirs: PaperTable, categories: Sequence[str], system: str) -> paper.Figure | None:
    figures = [theirs.get(name, {}).get(system) for name in categories]
    values = [figure.value for figure in figures if figure]
    return paper.Figure(float(np.mean(values)), None) if len(values) == len(categories) else None


def _figure(figure: paper.Figure | None) -> str:
    return NONE if figure is None else number(figure.value, figure.std)


METRICS = {
    "image_auroc_map": "image AUROC by the map",
    **{name: title for name, title in summary.titles().items() if not name.endswith("auroc")},
    "pixel_spro": "sPRO",
    "loss": "loss",
}


def _known(rows: Rows, metric: str) -> bool:
    return any(row.get(metric) is not None for row in rows)


def others(rows: Rows, title: str) -> Table:
    """Return the remaining metrics, a row a category, and what the held-out threshold does."""
    metrics = {name: text for name, text in METRICS.items() if _known(rows, name)}
    decided = {
        "threshold": "threshold",
        "promised": "false alarms: promised",
        "false_alarms": "found",
        "detected": "detected",
    }
    columns = ["category", *metrics.values(), *decided.values(), "seconds"]
    body = []
    for name in names(rows, "category"):
        of_name = pick(rows, category=name)
        decisions = [row["decision"] for row in of_name]
        found = [
            number(float(np.mean([d[k] for d in decisions])), None, 4 if k == "threshold" else 1)
            if all(d.get(k) is not None for d in decisions)
            else NONE
            for k in decided
        ]
        seconds = np.mean([sum(row["seconds"].values()) for row in of_name])
        cells = [
            number(over_seeds(of_name, metric)[0], None, 3 if metric == "loss" else 2)
            for metric in metrics
        ]
        body.append([name, *cells, *found, f"{seconds:.0f}"])
    why = {row["decision"]["why"]: None for row in rows if "why" in row["decision"]}
    notes = [f"No threshold: {reason}." for reason in why]
    return Table(title, columns, body, notes)


def by_variant(
    rows: Rows,
    title: str,
    heading: str,
    theirs: Mapping[str, tuple[float | None, float | None]],
    extra: Sequence[str] = (),
) -> Table:
    """Return image and pixel AUROC, a row a variant, with the paper's means beside.

    What the paper states is a mean over all the categories of MVTec AD; of a few, only the
    differences between variants can be set beside it: they are to the first row.

    Args:
        rows: of an experiment's results.
        title: of the table.
        heading: of the first column.
        theirs: the paper's image and pixel AUROC by variant.
        extra: further metrics to show for each category, ``loss`` for instance.
    """
    categories = names(rows, "category")
    columns = [heading]
    for name in categories:
        columns += [f"{name}, image", "pixel", *(METRICS[metric] for metric in extra)]
    columns += ["mean, image", "to first", "pixel", "to first"]
    columns += ["paper, image", "to first", "pixel", "to first"] if theirs else []
    first: list[float | None] = []
    body = []
    for variant in names(rows, "variant"):
        of_variant = pick(rows, variant=variant)
        cells = [variant]
        for name in categories:
            part = pick(of_variant, category=name)
            for metric in ("image_auroc", "pixel_auroc", *extra):
                value, std = over_seeds(part, metric)
                cells.append(number(value, std, 3 if metric == "loss" else 2))
        values: list[float | None] = [None, None]
        # Means over other categories than the others' would be no comparison.
        if set(names(of_variant, "category")) == set(categories):
            values = [mean(of_variant, metric) for metric in ("image_auroc", "pixel_auroc")]
        values += theirs.get(variant, (None, None)) if theirs else []
        first = first or values
        for value, start in zip(values, first, strict=True):
            cells += [number(value), difference(value, start)]
        body.append(cells)
    return Table(title, columns, body, [_spread(rows)])


class InPaper(NamedTuple):
    """Numbers of the tables a data set has in the paper; None where it has none."""

    means: str | None = None
    image: str | None = None
    pixel: str | None = None


def data_set(numbers: InPaper, config: Config, rows: Rows) -> list[Table]:
    """Return the tables of a data set: AUROC of images and pixels, other metrics; the means of all.

    Args:
        numbers: of the paper's tables.
        config: the run's.
        rows: its results.
    """
    ours = HEADLINE.get(config.wt, "")
    setting = f"{config.backbone}, {config.wt}, {config.velocity}"
    found = [
        by_category(rows, metric, f"{what} AUROC in %: {setting}", theirs, ours)
        for metric, what, theirs in (
            ("image_auroc", "Image", numbers.image),
            ("pixel_auroc", "Pixel", numbers.pixel),
        )
        if _known(rows, metric)
    ]
    found.append(others(rows, f"{'Other metrics' if found else 'Results'} in %: {setting}"))
    if config.data.endswith("loco"):
        found.append(by_kind(rows, f"Image AUROC in % by kind of defect: {setting}"))
    published = LAYOUTS[config.data.removeprefix("tfds:")].published
    # The paper's means are of all the categories.
    if numbers.means and set(published) <= set(names(rows, "category")):
        found.append(means(rows, f"Means beside those of Table {numbers.means}", numbers.means))
    return found


def _spread(rows: Rows) -> str:
    if all(row.get("loss") is None for row in rows) and len(names(rows, "seed")) == 1:
        return "Nothing is trained: one figure."
    if len(names(rows, "seed")) > 1:
        return (
            f"Mean ± std over {len(names(rows, 'seed'))} seeds, each the mean of its last epochs."
        )
    return "Mean ± std over the last evaluated epochs, ten at most."


def by_kind(rows: Rows, title: str) -> Table:
    """Return image AUROC of each kind of defect against all good images, a row a category."""
    metrics = dict.fromkeys(name for row in rows for name in row if name.startswith("image_auroc "))
    kinds = [name for name in metrics if not name.endswith(("_std", "_final"))]
    columns = ["category", *(kind.removeprefix("image_auroc ") for kind in kinds)]
    body = []
    for name in [*names(rows, "category"), "mean"]:
        part = rows if name == "mean" else pick(rows, category=name)
        body.append([name, *(number(mean(part, kind)) for kind in kinds)])
    return Table(title, columns, body)


def means(rows: Rows, title: str, number_in_paper: str) -> Table:
    """Return the mean over categories below those of every system in a table of the paper's."""
    theirs = paper.table(number_in_paper)
    metrics = [name for name, row in ROW_IN_PAPER.items() if row in theirs]
    keys = [ROW_IN_PAPER[name] for name in metrics]
    body = [
        [system, *(_figure(theirs[key].get(system)) for key in keys)] for system in theirs[keys[0]]
    ]
    body.append(["ours", *(number(mean(rows, metric)) for metric in metrics)])
    return Table(title, ["system", *(f"{key} AUROC" for key in keys)], body)


def beside(rows: Rows, metric: str, title: str, theirs: PaperTable) -> Table:
    """Return one metric, a row a category and a column a variant, with the paper's in brackets.

    Args:
        rows: of an experiment's results.
        metric: which.
        title: of the table.
        theirs: the paper's figures by category and setting.
    """
    settings = list(dict.fromkeys([*names(rows, "variant"), *next(iter(theirs.values()))]))
    body = []
    for name, figures in theirs.items():
        cells = [name]
        for setting in settings:
            value, _ = over_seeds(pick(rows, category=name, variant=setting), metric)
            figure = figures.get(setting)
            cells.append(number(value) + (f" ({number(figure.value, None, 1)})" if figure else ""))
        body.append(cells)
    return Table(title, ["category", *settings], body)
