"""Is a data set here as it was published? Counts, and whether each file can be decoded."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.markup import escape
from rich.table import Table

from wtflow_jax.data.images import check_sample, is_large
from wtflow_jax.data.inverted import Marked, doubt
from wtflow_jax.data.layouts import Counts, Layout, find
from wtflow_jax.data.sample import Category, Sample
from wtflow_jax.support.errors import WTFlowError, shown
from wtflow_jax.support.threads import ahead

SPLITS = ("train", "validation", "test good", "test defective")


class Row(NamedTuple):
    """What was found of a category, or of one split of it.

    Attributes:
        category: its name.
        split: one of ``SPLITS``; empty where it is the whole category.
        found: images, None where the category cannot be read.
        published: images, None where nothing is published of it.
        verdict: in a few words.
        complete: whether nothing is amiss.
        problems: a line each of what cannot be used, or is strange.
    """

    category: str
    split: str
    found: int | None
    published: int | None
    verdict: str
    complete: bool
    problems: tuple[str, ...] = ()


Advance = Callable[[str, int], None]
"""Told of progress: ``advance(category, images in it)`` for each image."""


def check(
    layout: str,
    root: Path,
    categories: Sequence[str] = (),
    advance: Advance = lambda category, images: None,
) -> list[Row]:
    """Compares a data set with what was published, and decodes each of its files.

    Args:
        layout: a key of ``LAYOUTS``.
        root: the data set's directory.
        categories: which of them; empty: all that were published or are there.
        advance: told of each image.

    Returns:
        A row a split of each category; one row of a category that is missing or cannot be read.

    Raises:
        WTFlowError: no such layout, or the directory is not laid out so.
    """
    known = find(layout)
    names = known.categories(root)
    rows: list[Row] = []
    for name in dict.fromkeys(categories or (*known.published, *names)):
        published = known.published.get(name)
        total = sum(published) if published else None
        if name not in names:
            rows.append(Row(name, "", 0, total, "missing", complete=False))
            continue
        try:
            category = known.open_category(root, name)
        except WTFlowError as error:
            rows.append(Row(name, "", None, total, "cannot be read", False, (str(error),)))
            continue
        extra = bool(known.published) and published is None
        rows += _splits(category, published, extra, advance)
    return rows


def table(rows: Iterable[Row], title: str) -> Table:
    """The rows for people."""
    view = Table(title=title)
    for heading in ("category", "split"):
        view.add_column(heading, no_wrap=True)
    for heading in ("found", "published"):
        view.add_column(heading, justify="right")
    view.add_column("verdict")
    for row in rows:
        counts = ["" if count is None else str(count) for count in (row.found, row.published)]
        # Brackets in a path are no markup.
        view.add_row(escape(shown(row.category)), row.split, *counts, escape(row.verdict))
    return view


def closing(rows: list[Row], layout: Layout) -> str:
    """One line on the whole: complete or not, or what was found where nothing is published."""
    amiss = list(dict.fromkeys(row.category for row in rows if not row.complete))
    if amiss:
        return f"{layout.title}: not complete: see {', '.join(amiss)}"
    if layout.published:
        return f"{layout.title}: complete, as published ({layout.source})"
    found = ", ".join(f"{row.found} {row.split}" for row in rows)
    return f"{layout.title}: nothing is published to compare with; found {found}"


def _splits(
    category: Category, published: Counts | None, extra: bool, advance: Advance
) -> Iterator[Row]:
    total = sum(map(len, (category.train, category.validation, category.test)))

    def told() -> None:
        advance(category.name, total)

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
        broken, notes = _broken(samples, told)
        more = len(samples) - count if count is not None else 0
        if broken:
            verdict = f"cannot be used: {len(broken)}"
        elif more:
            verdict = f"{more} too many" if more > 0 else f"{-more} missing"
        elif extra:
            verdict = "extra, not published"
        else:
            verdict = "found" if count is None else "complete"
        complete = not broken and not more
        yield Row(category.name, split, len(samples), count, verdict, complete, (*broken, *notes))


def _broken(samples: Iterable[Sample], told: Callable[[], None]) -> tuple[list[str], list[str]]:
    """Return what cannot be used, and whether masks may be inverted."""

    def looked(sample: Sample) -> str | Marked | None:
        try:
            share = check_sample(sample)
        except WTFlowError as error:
            return str(error)
        return None if share is None else Marked(str(sample.path), share)

    found: list[str | Marked | None] = []
    for one in ahead(looked, samples, alone=lambda sample: is_large(sample.path)):
        told()
        found.append(one)
    note = doubt([one for one in found if isinstance(one, Marked)])
    return [one for one in found if isinstance(one, str)], [note] if note else []
