"""Checks a data set against its publication: the counts, and whether each file can be decoded."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wtflow_jax.data.images import decode, is_large
from wtflow_jax.data.layouts import LAYOUTS, open_category
from wtflow_jax.data.masks import doubt, masks_of
from wtflow_jax.data.sample import Sample
from wtflow_jax.support.console import Track, untracked
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.threads import ahead


class Row(NamedTuple):
    """The result for a category, or for one split of it.

    The split is ``train``, ``validation``, ``test good`` or ``test defective``, or empty for the
    whole category. ``found`` counts its images, None if the category cannot be read. ``published``
    is the published count, None if there is none. ``problems`` are one line each: what cannot be
    used, and masks that may be inverted.
    """

    category: str
    split: str
    found: int | None
    published: int | None
    verdict: str
    complete: bool
    problems: tuple[str, ...] = ()


def check(
    layout: str, root: Path, categories: Sequence[str] = (), track: Track = untracked
) -> list[Row]:
    """Compare a data set with its published counts, and decode each of its files.

    Without ``categories``, check all that are published or present; ``track`` shows a bar for each.

    Returns:
        One row per split of each category; one row for a category that is missing or unreadable.

    Raises:
        WTFlowError: the layout is unknown, or the directory does not match it.
    """
    known = LAYOUTS.find(layout)
    names = known.categories(root)
    rows: list[Row] = []
    for name in dict.fromkeys(categories or (*known.published, *names)):
        published = known.published.get(name)
        total = sum(published) if published else None
        if name not in names:
            rows.append(Row(name, "", 0, total, "missing", False))
            continue
        try:
            category = open_category(root, name, layout)
        except WTFlowError as error:
            rows.append(Row(name, "", None, total, "cannot be read", False, (str(error),)))
            continue
        parts = {
            "train": category.train,
            "validation": category.validation,
            "test good": tuple(sample for sample in category.test if not sample.label),
            "test defective": tuple(sample for sample in category.test if sample.label),
        }
        advance = track(name, sum(map(len, parts.values())))
        for split, samples in parts.items():
            count = getattr(published, split.replace(" ", "_"), None)
            if split == "validation" and not samples and not count:
                continue
            broken, marked = [], {}
            looked = ahead(_looked, samples, alone=lambda sample: is_large(sample.path))
            for sample, found in zip(samples, looked, strict=True):
                advance()
                if isinstance(found, str):
                    broken.append(found)
                elif found is not None:
                    marked[str(sample.path)] = found
            more = 0 if count is None else len(samples) - count
            if broken:
                verdict = f"cannot be used: {len(broken)}"
            elif more:
                verdict = f"{more} too many" if more > 0 else f"{-more} missing"
            elif count is None:
                verdict = "extra, not published" if known.published else "found"
            else:
                verdict = "complete"
            problems = tuple(filter(None, (*broken, doubt(marked))))
            complete = not (broken or more)
            rows.append(Row(name, split, len(samples), count, verdict, complete, problems))
    return rows


def _looked(sample: Sample) -> str | float | None:
    """Return why a sample cannot be used, else the share of pixels that its masks mark."""
    try:
        if not sample.masks:
            decode(sample.path)
            return None
        marked = np.logical_or.reduce([values > 0 for _, values in masks_of(sample)])
    except WTFlowError as error:
        return str(error)
    return float(marked.mean())
