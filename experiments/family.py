"""Exact fields as a family: from PaDiM's score over mixtures to PatchCore's, beside the paper's.

Claim, this library's own: after whitening all members agree to a few points of AUROC, from one
Gaussian over all positions to 12,000 patches; without whitening T decides.

    python experiments/family.py                                      # a built-in category
    python experiments/family.py --root mvtec_ad --categories bottle screw transistor

Three dials: the number of Gaussians that model the data (whiten, one residual step), the time T of
that step (whiten and no map), and the share of common covariance (no map, steps from t = 0 to 1).
Draws family.png beside results.json. ``--wt`` and ``--velocity`` are ignored. Cost: 20 rows without
training and one row of mvtec.py per category. Findings: docs/geometry.md.
"""

from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wtflow_jax.lab import Experiment, Rows, Setup, Variants, views
from wtflow_jax.support.console import Table

METRICS = {"image_auroc": "image AUROC in %", "pixel_auroc": "pixel AUROC in %"}
STEP = {"start": 0.5, "residual": True, "steps_det": 1, "steps_loc": 1}
WHOLE = {"start": 0.0, "residual": False, "steps_det": 20, "steps_loc": 20}
TIMES = ("0.001", "0.02", "0.05", "0.3", "0.9")


class Line(NamedTuple):
    """Members along a dial."""

    panel: int
    dashed: bool
    members: dict[str, dict[str, Any]]  #: value of the dial to flags


def _mixture(k: int) -> dict[str, Any]:
    return {"wt": "whiten", "velocity": "mixture", "components": k, **STEP}


def _patches(wt: str) -> dict[str, dict[str, Any]]:
    own = {"wt": wt, "velocity": "exact", **STEP}
    return {t: own | {"start": float(t)} for t in TIMES}


LINES = {
    "Gaussians": Line(
        0,
        False,
        {"one a\nposition": {"wt": "whiten", "velocity": "gaussian", **STEP}}
        | {str(k): _mixture(k) for k in (1, 4, 16, 64)}
        | {"12,000\npatches": {"wt": "whiten", "velocity": "exact", **STEP}},
    ),
    "T, whiten": Line(1, False, _patches("whiten")),
    "T, no map": Line(1, True, _patches("none")),
    "α": Line(
        2,
        False,
        {
            f"{a:g}": {"wt": "none", "velocity": "gaussian", "shrinkage": a, **WHOLE}
            for a in (0.01, 0.1, 0.3, 1.0)
        },
    ),
    "paper": Line(1, False, {"0": {"wt": "layer_norm", "velocity": "unet"}}),
}
DIALS = (
    "Gaussians that make up the data\n(whiten, one residual step from T = 0.5)",
    "T of one residual step, 12,000 patches\n(whiten; dashed: no map)",
    "α, the share of common covariance\n(no map, a Gaussian a position, 20 steps)",
)
MARKS = {
    "PaDiM": ("*", "α", "0.01"),
    "PatchCore": ("s", "T, no map", "0.001"),
    "the default of wtflow fit": ("o", "T, whiten", "0.05"),
    "the paper's setting": ("D", "paper", "0"),
}
"""Marker, line and value."""


def variants(setup: Setup) -> Variants:
    """Return the members, each named by its line and value."""
    most = 1 if setup.run.smoke else None
    return {
        f"{name}: {value}".replace("\n", " "): flags
        for name, line in LINES.items()
        for value, flags in list(line.members.items())[:most]
    }


def draw(rows: Rows) -> Figure:
    """Draw one panel per dial, image AUROC above pixel AUROC, one colour per category."""
    figure = Figure(figsize=(12, 6.4), layout="constrained")
    panels = figure.subplots(2, 3, sharey="row", sharex="col")
    places = [("0", *TIMES) if i == 1 else tuple(_of(i)) for i in range(3)]
    legend = []
    for row, metric in enumerate(METRICS):
        for i, (category, own) in enumerate(views.by(rows, "category").items()):
            values = {r["variant"]: r[metric] for r in own}
            legend.append(Line2D([], [], color=f"C{i}", label=category))
            for name, line in LINES.items():
                _plot(panels[row][line.panel], name, line, places[line.panel], values, f"C{i}")
    for column, dial in enumerate(DIALS):
        panels[1][column].set_xlabel(dial)
        panels[1][column].set_xticks(range(len(places[column])), places[column])
    for row, label in enumerate(METRICS.values()):
        panels[row][0].set_ylabel(label)
    marks = [
        Line2D([], [], linestyle="", marker=marker, color="0.3", markersize=8, label=label)
        for label, (marker, *_) in MARKS.items()
    ]
    figure.legend(
        handles=[*legend[: len(legend) // 2], *marks], loc="outside upper center", ncols=8
    )
    for panel in panels.flat:
        panel.grid(alpha=0.3)
    return figure


def _of(panel: int) -> list[str]:
    return [value for line in LINES.values() if line.panel == panel for value in line.members]


def _plot(
    panel: Axes, name: str, line: Line, places: tuple[str, ...], values: dict[str, Any], colour: str
) -> None:
    """Plot the results of a line, with its marks."""
    names = {value: f"{name}: {value}".replace("\n", " ") for value in line.members}
    known = {v: values[key] for v, key in names.items() if values.get(key) is not None}
    at = [places.index(value) for value in known]
    dashes = "--" if line.dashed else "-"
    panel.plot(at, list(known.values()), marker=".", color=colour, linestyle=dashes)
    for marker, of, value in MARKS.values():
        if of == name and value in known:
            panel.plot(places.index(value), known[value], marker=marker, color=colour, markersize=9)


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Draw family.png, and return image and pixel AUROC of each member."""
    setup.run.out.mkdir(parents=True, exist_ok=True)
    draw(rows).savefig(setup.run.out / "family.png", dpi=100)
    return [views.by_variant(rows, "AUROC in %", "dial and value", {})]


EXPERIMENT = Experiment("family", __doc__, show, variants)
EXPERIMENT.command(__name__)
