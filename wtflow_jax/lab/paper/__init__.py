"""The paper's tables and its settings a category (arXiv 2508.05461v2), to print beside ours.

The folder has a CSV file a table; the supplement numbers its own again: S-VII to S-XVI. The first
column is a category (named as its directory), ``mean`` over them, ``image`` or ``pixel`` (Det. and
Loc., AUROC in %), a system (VII: pixel AUROC) or a quantity (IX, X). Every other column is a
system or a setting. S-XII (none), S-XIII (batch_norm) and S-XIV (layer_norm) are the mean ‖x_t‖ of
the good test images of MVTec AD at steps 0, 5, …, 50 of 50.

The paper's cashhew, marcaron1, marcaron2 and pipefryum are cashew, macaroni1, macaroni2 and
pipe_fryum here; its plain WT-Flow (I to III, V, VI) and the WT of VIII, IX and XI are layer_norm's.
II, V and VI cite DeSTSeg's number 74 for RD; in II its figures are those of S-X, which cites 18.
The daggers for multi- and single-scale runs were lost when the paper became text.

So were the places of the four check marks "pos" in IV, S-XV and S-XVI. There are 14 columns under
10 widths: four widths have two columns, which only a mark can tell apart, so each pair has one and
no other column has any. Table X gives none 92.20, batch_norm 97.79 and layer_norm 99.05 at width
768, layer_norm 98.36 at 512, so the order of the columns leaves only these four as the pairs.
Table X compares them with widths that have no mark, and V-F counts 92.20 − 70.52 as the gain from
width alone: the first of a pair is without, the second with.
"""

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

DIRECTORY = Path(__file__).parent
MAIN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI")
SUPPLEMENT = ("VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV", "XVI")
NUMBERS = (*MAIN, *(f"S-{number}" for number in SUPPLEMENT))
"""Of all tables."""

SETTINGS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("mvtec_ad", "transistor"): {"image_size": "256"},  # suppl. XI-B, XI-D
    ("visa", "macaroni2"): {"layer": ("layer2",)},  # suppl. XI-D
}
"""By layout and category: the fields of a Config that differ from Sec. V-A.

V-A speaks of a limited subset with another resolution or feature size and points to the supplement,
which names these two; of MVTec LOCO, MPDD and MVTec 3D-AD it says nothing.
"""


class Figure(NamedTuple):
    """One cell of a table."""

    value: float
    std: float | None
    """Over the last ten epochs; None where the paper gives none."""


@cache
def table(number: str) -> dict[str, dict[str, Figure]]:
    """Return a table: row, then system or setting, to its figure; empty cells are left out.

    Args:
        number: the paper's, ``"IV"``, or with ``S-`` the supplement's, ``"S-XII"``.

    Raises:
        ValueError: the paper has no such table.
    """
    if number not in NUMBERS:
        raise ValueError(f"table {number!r}: give one of {', '.join(NUMBERS)}")
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
    """Return image and pixel AUROC in % by setting, of a table that has these two as its rows."""
    image, pixel = table(number)["image"], table(number)["pixel"]
    return {name: (image[name].value, pixel[name].value) for name in image}
