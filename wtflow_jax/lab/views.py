"""Shows rows of results as tables, with the paper's figures beside ours."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from wtflow_jax.data import LAYOUTS, PREPARED
from wtflow_jax.lab import paper
from wtflow_jax.lab.flags import Setup
from wtflow_jax.lab.results import Rows
from wtflow_jax.metrics import summary
from wtflow_jax.support.console import NONE, Table, difference, number

HEADLINE = {"none": "rFM", "batch_norm": "WT-Flow (BN)", "layer_norm": "WT-Flow (LN)"}
"""The paper's name of the flow with each WT map."""
ROW_IN_PAPER = {"image_auroc": "image", "pixel_auroc": "pixel"}
Figure = tuple[float | None, float | None]
"""A value and its std, ours or the paper's; None if missing."""
MISSING: Figure = (None, None)
Figures = Mapping[str, Figure]
"""Figures by system or setting."""
WIDEST = 7
"""Columns that fit on a page of the documentation."""
ROOM = 110
"""Characters that fit on a line of it, with two per column for the space between columns."""


def pick(rows: Rows, **wanted: Any) -> Rows:
    """Return the rows whose entries equal the wanted values."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def names(rows: Rows, column: str) -> list[Any]:
    """Return the distinct values of a column, in order."""
    return list(dict.fromkeys(row[column] for row in rows))


def by(rows: Rows, column: str) -> dict[Any, Rows]:
    """Return the rows of each value of a column, in order."""
    return {value: pick(rows, **{column: value}) for value in names(rows, column)}


def over_seeds(rows: Rows, metric: str) -> Figure:
    """Return mean and std over seeds (the population std of these seeds, not an estimate).

    With one seed, mean and std are over its last evaluated epochs.
    """
    values: list[Any] = [row.get(metric) for row in rows]
    if (found := _mean(values)) is None:
        return MISSING
    if len(rows) > 1:
        return found, float(np.std(values))
    return found, None if rows[0].get("loss") is None else rows[0].get(f"{metric}_std")


def mean(rows: Rows, metric: str) -> float | None:
    """Return the mean over categories of the means over seeds; None if one is missing."""
    return _mean([over_seeds(part, metric)[0] for part in by(rows, "category").values()])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def by_category(
    rows: Rows, metric: str, title: str, number_in_paper: str | None, ours: str
) -> Table:
    """Return a table of one metric, one row per category.

    The columns are our figure, our last epoch, and every system of the paper's table. ``ours`` is
    the paper's name for the setting that was run; the difference is to its column.
    """
    parts = by(rows, "category")
    whole = paper.table(number_in_paper) if number_in_paper else {}
    theirs = {name: whole[name] for name in parts if name in whole}
    # Our setting's column comes first.
    systems = sorted(next(iter(theirs.values()), {}), key=lambda system: system != ours)
    columns = list(systems)
    if ours in systems:
        columns[:1] = [f"paper, {ours}", "difference"]

    def line(name: str, part: Rows, std: float | None, figures: Figures) -> list[str]:
        value, cells = mean(part, metric), [number(*figures.get(s, MISSING)) for s in systems]
        if ours in systems:
            cells.insert(1, difference(value, figures.get(ours, MISSING)[0]))
        return [name, number(value, std), number(mean(part, f"{metric}_final")), *cells]

    body = [
        line(name, part, over_seeds(part, metric)[1], theirs.get(name, {}))
        for name, part in parts.items()
    ]
    if len(parts) > 1:
        # Over our categories only, which may be fewer than the paper's.
        each = {s: [theirs.get(name, {}).get(s, MISSING)[0] for name in parts] for s in systems}
        body.append(line("mean", rows, None, {s: (_mean(v), None) for s, v in each.items()}))
    return Table(title, ["category", "ours", "last epoch", *columns], body, [_spread(rows)])


def _spread(rows: Rows) -> str:
    if (seeds := len(names(rows, "seed"))) > 1:
        return f"Mean ± std over {seeds} seeds, each the mean of its last epochs."
    if all(row.get("loss") is None for row in rows):
        return "Nothing is trained: one figure."
    return "Mean ± std over the last evaluated epochs, ten at most."


def titles() -> dict[str, str]:
    """Return the headings of metrics in tables, except image and pixel AUROC."""
    others = {k: title for k, title in summary.titles().items() if not k.endswith("auroc")}
    first, last = {"image_auroc_map": "image AUROC by the map"}, {"pixel_spro": "sPRO"}
    return {**first, **others, **last, "loss": "loss"}


def _known(rows: Rows, metric: str) -> bool:
    return any(row.get(metric) is not None for row in rows)


DECIDED = {"threshold": "threshold", "promised": "false alarms: promised"}
DECIDED |= {"false_alarms": "found", "detected": "detected"}


def others(rows: Rows, title: str) -> Table:
    """Return the other metrics and the decisions of the held-out threshold, a row per category."""
    metrics = {name: text for name, text in titles().items() if _known(rows, name)}
    body = []
    for name, part in by(rows, "category").items():
        means = [(over_seeds(part, metric)[0], 3 if metric == "loss" else 2) for metric in metrics]
        means += [
            (_mean([row["decision"].get(key) for row in part]), 4 if key == "threshold" else 1)
            for key in DECIDED
        ]
        seconds = np.mean([sum(row["seconds"].values()) for row in part])
        cells = [number(value, None, digits) for value, digits in means]
        body.append([name, *cells, f"{seconds:.0f}"])
    why = dict.fromkeys(row["decision"]["why"] for row in rows if "why" in row["decision"])
    columns = ["category", *metrics.values(), *DECIDED.values(), "seconds"]
    turned = [row["category"] for row in rows if row.get("pose", {}).get("turned")]
    notes = [f"No threshold: {reason}." for reason in why]
    if turned:
        which = ", ".join(dict.fromkeys(turned))
        notes.append(f"Images are turned by their principal axis: {which}.")
    return Table(title, columns, body, notes)


def by_variant(
    rows: Rows, title: str, heading: str, theirs: Figures, extra: Sequence[str] = ()
) -> Table:
    """Return image and pixel AUROC, one row per variant, with the paper's means beside them.

    The paper states means over all categories of MVTec AD. With fewer categories only differences
    between variants are comparable; they are to the first row. ``extra`` metrics, for instance
    ``loss``, are shown for each category.
    """
    categories, first, body = names(rows, "category"), list[float | None](), []
    for variant, of_variant in by(rows, "variant").items():
        cells = [variant]
        for name in categories:
            part = pick(of_variant, category=name)
            for metric in (*ROW_IN_PAPER, *extra):
                cells.append(number(*over_seeds(part, metric), 3 if metric == "loss" else 2))
        # Means are comparable only over the same categories.
        whole = set(names(of_variant, "category")) == set(categories)
        values = [mean(of_variant, metric) if whole else None for metric in ROW_IN_PAPER]
        values += theirs.get(variant, MISSING) if theirs else []
        first = first or values
        for value, start in zip(values, first, strict=True):
            cells += [number(value), difference(value, start)]
        body.append(cells)
    columns, more = [heading], [titles()[metric] for metric in extra]
    for name in categories:
        columns += [f"{name}, image", "pixel", *more]
    for whose in ("mean", "paper") if theirs else ("mean",):
        columns += [f"{whose}, image", "to first", "pixel", "to first"]
    return Table(title, columns, body, [_spread(rows)])


def data_set(
    means: str | None, image: str | None, pixel: str | None, setup: Setup, rows: Rows
) -> list[Table]:
    """Return the tables of a data set: AUROC of images and pixels, other metrics, and means.

    ``means``, ``image`` and ``pixel`` are the paper's table numbers, as in ``experiment.data_set``.
    """
    config, layout = setup.config(), setup.data.data
    flow = config.flow
    ours = HEADLINE.get(flow.wt, "")
    setting = f"{config.features.backbone}, {flow.wt}, {flow.velocity}"
    found = [
        by_category(rows, metric, f"{name.capitalize()} AUROC in %: {setting}", theirs, ours)
        for (metric, name), theirs in zip(ROW_IN_PAPER.items(), (image, pixel), strict=True)
        if _known(rows, metric)
    ]
    found.append(others(rows, f"{'Other metrics' if found else 'Results'} in %: {setting}"))
    if layout.endswith("loco"):
        found.append(by_kind(rows, f"Image AUROC in % by kind of defect: {setting}"))
    published = LAYOUTS.find(layout.removeprefix(PREPARED)).published
    # The paper's means are over all categories.
    if means and set(published) <= set(names(rows, "category")):
        found.append(beside_means(rows, means))
    return found


def by_kind(rows: Rows, title: str) -> Table:
    """Return image AUROC of each kind of defect against all good images, one row per category."""
    metrics = dict.fromkeys(name for row in rows for name in row if name.startswith("image_auroc "))
    kinds = [name for name in metrics if not name.endswith(("_std", "_final"))]
    parts = by(rows, "category") | {"mean": rows}
    body = [[name, *(number(mean(part, kind)) for kind in kinds)] for name, part in parts.items()]
    return Table(title, ["category", *(kind.removeprefix("image_auroc ") for kind in kinds)], body)


def beside_means(rows: Rows, table: str) -> Table:
    """Return our mean over categories below the means of every system in a table of the paper."""
    theirs = paper.table(table)
    metrics = {name: key for name, key in ROW_IN_PAPER.items() if key in theirs}
    systems = theirs[next(iter(metrics.values()))]
    body = [
        [system, *(number(*theirs[key].get(system, MISSING)) for key in metrics.values())]
        for system in systems
    ]
    body.append(["ours", *(number(mean(rows, metric)) for metric in metrics)])
    columns = ["system", *(f"{key} AUROC" for key in metrics.values())]
    return Table(f"Means beside those of Table {table}", columns, body)


def choices(rows: Rows, column: str, title: str) -> Table:
    """Return a column that has one value per choice: a row per category, with the best choice."""

    def line(row: Mapping[str, Any]) -> list[str]:
        values = row[column]
        best = max(values, key=lambda name: values[name] or 0.0)
        return [row["category"], *map(number, values.values()), best]

    return Table(title, ["category", *rows[0][column], "best"], [line(row) for row in rows])


def narrow(table: Table) -> Table:
    """Return a comparison of variants with image and pixel AUROC in one column, without stds."""
    kept: dict[str, list[str]] = {}
    category, image = "", list[str]()
    for name, *cells in _columns(table):
        cells = [cell.partition(" ±")[0] for cell in cells]
        if name.endswith(", image"):
            category, image = name.removesuffix(", image"), cells
        elif name == "pixel" and image:
            pairs = zip(image, cells, strict=True)
            kept[category] = [" / ".join(pair) if set(pair) != {NONE} else NONE for pair in pairs]
        elif name not in ("to first", "image AUROC by the map"):
            kept[f"{category}, {name}" if category else name] = cells
    columns = _with_figures([[name, *cells] for name, cells in kept.items()])
    if len(columns) > WIDEST:
        columns = [column for column in columns if NONE not in column]
    title = table.title.replace("AUROC", "Image / pixel AUROC", 1) if image else table.title
    return upright(_table(title, columns))


def upright(table: Table) -> Table:
    """Return a table without empty columns, transposed if it has too many columns."""
    columns = _with_figures(_columns(table))
    if len(columns) > max(WIDEST, len(table.rows) + 1):
        columns = [list(row) for row in zip(*columns, strict=True)]
    return _table(table.title, columns)._replace(notes=table.notes)


def parts(table: Table) -> Iterator[Table]:
    """Yield a table split by columns into the fewest tables that fit; the last has the notes."""
    names, *figures = _columns(table)

    def room(columns: list[list[str]]) -> int:
        # Headings do not count: they wrap between words.
        return sum(2 + max(map(len, column[1:])) for column in columns)

    count = 1
    while count < len(figures):
        size = -(-len(figures) // count)
        split = [figures[i : i + size] for i in range(0, len(figures), size)]
        if all(room([names, *part]) <= ROOM for part in split):
            break
        count += 1
    else:
        split = [figures]
    for part in split:
        notes = table.notes if part is split[-1] else ()
        yield _table(table.title, [names, *part])._replace(notes=notes)


def _columns(table: Table) -> list[list[str]]:
    return [list(cells) for cells in zip(table.columns, *table.rows, strict=True)]


def _with_figures(columns: list[list[str]]) -> list[list[str]]:
    return [column for column in columns if set(column[1:]) != {NONE}]


def _table(title: str, columns: list[list[str]]) -> Table:
    heading, *rows = zip(*columns, strict=True)
    return Table(title, heading, rows)
