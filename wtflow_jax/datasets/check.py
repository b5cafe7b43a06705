"""Is a data set here as it was published? Counts, and whether each file opens."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from rich.markup import escape
from rich.table import Table

from wtflow_jax.datasets.images import check_header
from wtflow_jax.datasets.layouts import Counts, Layout, find
from wtflow_jax.datasets.sample import Category, Sample
from wtflow_jax.errors import WTFlowError

SPLITS = ("train", "validation", "test good", "test defective")


class Row(NamedTuple):
    """What was found of a category, or of one split of it.

    Attributes:
        category: its name.
        split: one of ``SPLITS``; empty where it is the whole category.
        found: images, None where the category cannot be read.
        published: images, None where nothing is published of it.
        verdict: in words.
        complete: whether nothing is amiss.
    """

    category: str
    split: str
    found: int | None
    published: int | None
    verdict: str
    complete: bool


def check(layout: str, root: Path) -> list[Row]:
    """Compares a data set with what was published, and opens each of its files.

    Only the beginning of a file is read: one that is cut short later passes.

    Args:
        layout: a key of ``LAYOUTS``.
        root: the data set's directory.

    Returns:
        A row a split of each category; one row of a category that is missing or cannot be read.

    Raises:
        WTFlowError: no such layout, or the directory is not laid out so.
    """
    known = find(layout)
    names = known.categories(root)
    rows: list[Row] = []
    for name in dict.fromkeys((*known.published, *names)):
        published = known.published.get(name)
        if name not in names:
            rows.append(Row(name, "", 0, sum(published or ()), "missing", complete=False))
            continue
        try:
            category = known.open_category(root, name)
        except WTFlowError as error:
            total = sum(published) if published else None
            rows.append(Row(name, "", None, total, str(error), complete=False))
            continue
        rows += _splits(category, published, extra=bool(known.published) and published is None)
    return rows


def table(rows: Iterable[Row], title: str) -> Table:
    """The rows for people."""
    shown = Table(title=title)
    for heading in ("category", "split"):
        shown.add_column(heading, no_wrap=True)
    for heading in ("found", "published"):
        shown.add_column(heading, justify="right")
    shown.add_column("verdict", overflow="fold")
    for row in rows:
        counts = ["" if count is None else str(count) for count in (row.found, row.published)]
        # Brackets in a path are no markup.
        shown.add_row(escape(row.category), row.split, *counts, escape(row.verdict))
    return shown


def closing(rows: list[Row], layout: Layout) -> str:
    """One line on the whole: complete or not, or what was found where nothing is published."""
    amiss = list(dict.fromkeys(row.category for row in rows if not row.complete))
    if amiss:
        return f"{layout.title}: not complete: see {', '.join(amiss)}"
    if layout.published:
        return f"{layout.title}: complete, as published ({layout.source})"
    found = ", ".join(f"{row.found} {row.split}" for row in rows)
    return f"{layout.title}: nothing is published to compare with; found {found}"


def _splits(category: Category, published: Counts | None, extra: bool) -> Iterator[Row]:
    good = tuple(sample for sample in category.test if not sample.label)
    bad = tuple(sample for sample in category.test if sample.label)
    parts = (category.train, category.validation, good, bad)
    expected: tuple[int | None, ...] = (None,) * 4
    if published:
        expected = (
            published.train,
            published.validation,
            published.test_good,
            published.test_defective,
        )
    for split, samples, count in zip(SPLITS, parts, expected, strict=True):
        if split == "validation" and not samples and not count:
            continue
        broken = _broken(samples)
        more = len(samples) - count if count is not None else 0
        if broken:
            verdict = f"{len(broken)} files cannot be opened, the first: {broken[0]}"
        elif more:
            verdict = f"{more} too many" if more > 0 else f"{-more} missing"
        elif extra:
            verdict = "extra, not published"
        else:
            verdict = "found" if count is None else "complete"
        complete = not broken and not more
        yield Row(category.name, split, len(samples), count, verdict, complete)


def _broken(samples: Iterable[Sample]) -> list[str]:
    errors: list[str] = []
    for sample in samples:
        for path in (sample.path, *sample.masks):
            try:
                check_header(path)
            except WTFlowError as error:
                errors.append(str(error))
    return errors
