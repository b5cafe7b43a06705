"""One HTML page of a run: it opens from disk, and fetches nothing from the network."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wtflow_jax import metrics
from wtflow_jax.app.report import charts, gallery
from wtflow_jax.app.writing import LINES
from wtflow_jax.lab import scored
from wtflow_jax.lab.scored import Scored
from wtflow_jax.metrics import summary
from wtflow_jax.support.console import Table, Track, untracked
from wtflow_jax.support.errors import WTFlowError, shown
from wtflow_jax.support.files import replacing

RESULTS = "results.json"
PAGE = "report.html"
START = b"<!doctype html>"
"""First bytes of a page: other files are not replaced."""
CURVES = {
    "roc": "ROC",
    "precision_recall": "Precision and recall",
    "overlap": "Per-region overlap (PRO)",
}
"""Titles of charts, by the attributes of ``metrics.Curves``."""
LAYERS = ("overlay", "image", "map", "mask")
SCRIPTS = ("charts", "dialog", "page")
COMMAND = "wtflow predict MODEL IMAGES --out DIR"
"""Command that takes a threshold; wtflow evaluate takes it too."""


class Section(NamedTuple):
    """Section of the page for a row."""

    title: str
    charts: dict[str, charts.Chart]  # by title
    notes: list[str]  # what is not shown, and why
    images: Sequence[gallery.Entry] = ()
    labelled: bool = True  # whether the images have labels
    threshold: float | None = None  # None if it is not set
    own: float | None = None  # the model's, if another is used
    threshold_from: str = ""  # source of the threshold
    command: str = ""  # that applies another threshold

    @property
    def layers(self) -> list[str]:
        """Names of the pictures in the section."""
        there = {name for image in self.images for name in image.get("pictures", {})}
        return [name for name in LAYERS if name in there]

    def data(self) -> dict[str, Any]:
        """Return the data for the scripts of the page."""
        names = ("charts", "images", "labelled", "layers", "threshold", "own", "command")
        return {name: getattr(self, name) for name in names}


def write(run: Path, most: int, track: Track = untracked) -> Path:
    """Write the page of a run into its directory, and return its path.

    Args:
        run: directory that an experiment, ``wtflow evaluate`` or ``wtflow predict`` has written.
        most: images shown with pictures, over all rows.
        track: shows progress.

    Raises:
        WTFlowError: the directory holds no run, a file of it cannot be read, ``PAGE`` exists and
            is not a page, or a package is missing.
    """
    if (run / PAGE).exists() and not (run / PAGE).read_bytes().startswith(START):
        raise WTFlowError(f"{run / PAGE}: exists and was not written by report; move it")
    source = next(filter(Path.is_file, (run / RESULTS, run / LINES)), None)
    if source is None:
        raise WTFlowError(
            f"{run}: is not a run, {RESULTS} is missing; give the --out of wtflow predict, wtflow "
            "evaluate or an experiment"
        )
    try:
        page = _page(run, source, most, track)
    # A malformed file may raise any of these.
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        what = f"{type(error).__name__}: {error}"
        raise WTFlowError(f"{source}: is not a results file ({what}); run it again") from error
    with replacing(run / PAGE) as part:
        part.write_text(page, encoding="utf-8", errors="backslashreplace")
    return run / PAGE


def _page(run: Path, source: Path, most: int, track: Track) -> str:
    try:
        import jinja2
        import vl_convert
    except ImportError as error:
        raise WTFlowError(
            f"{error.name} is not installed; pip install 'wtflow-jax[report]'"
        ) from error
    if source.name == RESULTS:
        results = json.loads(source.read_bytes())
        rows, sections = results["rows"], []
        share = max(1, most // max(1, sum("scores" in row for row in rows)))
        advance = track("rows", len(rows))
        for row in rows:
            sections.append(_of_row(run, row, results, share))
            advance()
    else:
        results, rows = {"experiment": "predict", "config": {}}, []
        sections = [_of_predictions(run, most)]
    files = resources.files("wtflow_jax.app.report")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    return environment.from_string((files / "page.html").read_text()).render(
        title=shown(_title(results, run, sections)),
        tables=[Table(**table) for table in results.get("tables", [])],
        sections=sections,
        config=dict(results["config"]),
        environment=next((dict(row["environment"]) for row in rows if "environment" in row), {}),
        style=(files / "page.css").read_text(),
        script="".join((files / f"{name}.js").read_text() for name in SCRIPTS),
        library=vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"),
    )


def _title(results: Mapping[str, Any], run: Path, sections: Sequence[Section]) -> str:
    experiment, name = results["experiment"], run.resolve().name
    images = sum(len(section.images) for section in sections)
    if experiment == "predict":
        return f"Predictions of {images} images, {name}"
    if experiment == "evaluate":
        # The parent of a directory called test names the data set.
        root = Path(results["config"].get("root") or "").parts[-2:]
        names = [section.title for section in sections]
        what = "/".join(root) if root and names == [root[-1]] else ", ".join(names)
        return f"Evaluation on {images} images of {what}"
    return f"Experiment {experiment}: {name}"


def _of_row(run: Path, row: Mapping[str, Any], results: Mapping[str, Any], most: int) -> Section:
    """Return the section of a row of ``RESULTS``, with at most ``most`` pictures."""
    parts = [row["category"], row.get("variant"), f"seed {row['seed']}" if "seed" in row else None]
    title, notes = ", ".join(filter(None, parts)), list(row.get("undefined", []))
    history = _of_history(row.get("history") or [])
    if "scores" not in row:
        return Section(title, history, notes)
    tested, decision = scored.load(run / row["scores"]), row.get("decision") or {}
    threshold, own = decision.get("threshold"), decision.get("own")
    images, more = gallery.of_scored(tested, row.get("colours"), most)
    # A variant may have another velocity than the config.
    velocity = None if row.get("variant") else results["config"].get("velocity")
    field = f"the velocity {velocity}" if velocity else "this row's velocity"
    drawn = _of_scores(tested, threshold, field) | history
    command = COMMAND if results["experiment"] == "evaluate" else ""
    source = _source(decision)
    return Section(title, drawn, notes + more, images, True, threshold, own, source, command)


def _source(decision: Mapping[str, Any]) -> str:
    """Return a sentence on the source of an evaluation's threshold."""
    if decision.get("threshold") is None:
        return "No threshold is set: decisions are shown once you set it."
    held_out = f"{decision['images']} held-out good {decision.get('counted', 'images')}"
    promised = f"an expected false-positive rate of {decision['promised']:.1f} %"
    own = decision.get("own")
    if own is None or own == decision["threshold"]:
        return f"The model's own, set by {held_out} for {promised}."
    return (
        f"Given to wtflow evaluate, in place of the model's own {own:.5g} (dashed in the "
        f"histogram); by {held_out}, {promised}."
    )


def _of_predictions(run: Path, most: int) -> Section:
    images, notes, threshold = gallery.of_predictions(run, most)
    drawn: dict[str, charts.Chart] = {}
    if threshold is None:
        notes.append(
            f"No image has a score. {LINES} says why, one line per image; fix that, and run wtflow "
            "predict again with another --out."
        )
    else:
        scores = np.array([image["score"] for image in images])
        drawn["Scores"] = charts.histogram({charts.IMAGES: scores}, threshold)
    source = "The threshold that wtflow predict used."
    return Section("Predictions", drawn, notes, images, False, threshold, None, source, COMMAND)


def _of_scores(tested: Scored, threshold: float | None, velocity: str) -> dict[str, charts.Chart]:
    """Return the charts of scores and maps."""
    labels, known = tested.labels, tested.known
    parts = {charts.GOOD: tested.scores[~labels], charts.DEFECTIVE: tested.scores[labels]}
    drawn = {"Scores": charts.histogram(parts, threshold)}
    with summary.reasons():
        curves = {charts.IMAGES: metrics.curves(tested.scores, labels)}
        if tested.masks is not None:
            masks = tested.masks[known]
            regions = metrics.label_regions(masks)
            curves[charts.PIXELS] = metrics.curves(tested.maps[known], masks, regions)
    for kind, title in CURVES.items():
        found = {name: getattr(of, kind, None) for name, of in curves.items()}
        if lines := {name: line for name, line in found.items() if line is not None}:
            drawn[title] = charts.lines(kind, lines)
    # Without a velocity nothing moves.
    if tested.radii is not None and np.ptp(tested.radii.values, axis=1).max() > 1e-3:
        drawn["Radius on the way"] = charts.radial(tested.radii, labels, velocity)
    return drawn


def _of_history(history: Sequence[Mapping[str, Any]]) -> dict[str, charts.Chart]:
    """Return the charts of a training run."""
    areas = {"image_auroc": charts.IMAGES, "pixel_auroc": charts.PIXELS}
    drawn = {
        "Loss": charts.by_epoch(history, {"loss": "loss"}, "loss"),
        "AUROC by epoch": charts.by_epoch(history, areas, "AUROC in %"),
    }
    trained = bool(drawn["Loss"]["values"])
    return {title: chart for title, chart in drawn.items() if trained and chart["values"]}
