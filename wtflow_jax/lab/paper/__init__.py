"""The paper's tables and its settings per category; README.md says how they were transcribed."""

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

DIRECTORY = Path(__file__).parent

SETTINGS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("mvtec_ad", "transistor"): {"image_size": "256"},  # suppl. XI-B, XI-D
    ("visa", "macaroni2"): {"layer": ("layer2",)},  # suppl. XI-D
}
"""By layout and category: the fields of a Config that differ from Sec. V-A.

Sec. V-A mentions a limited subset with another resolution or feature size and points to the
supplement, which names these two. It says nothing about MVTec LOCO, MPDD and MVTec 3D-AD.
"""


class Figure(NamedTuple):
    """One cell of a table."""

    value: float
    std: float | None
    """Std over the last ten epochs; None if the paper states no std."""


@cache
def table(number: str) -> dict[str, dict[str, Figure]]:
    """Return a table (``IV``, or ``S-XII`` of the supplement): figures by row, then by system."""
    with (DIRECTORY / f"{number}.csv").open(encoding="utf-8", newline="") as file:
        (_, *systems), *rows = csv.reader(file)
    return {
        row: {name: _figure(cell) for name, cell in zip(systems, cells, strict=True) if cell}
        for row, *cells in rows
    }


def _figure(cell: str) -> Figure:
    value, _, std = cell.partition("±")
    return Figure(float(value), float(std) if std else None)


def auroc(number: str) -> dict[str, tuple[float, float]]:
    """Return image and pixel AUROC in % by setting, from a table with the rows image and pixel."""
    image, pixel = table(number)["image"], table(number)["pixel"]
    return {name: (image[name].value, pixel[name].value) for name in image}
