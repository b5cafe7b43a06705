"""One HTML page of a run: it opens from disk, and nothing is fetched from elsewhere."""

from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wtflow_jax import metrics
from wtflow_jax.app.report import charts, gallery
from wtflow_jax.app.report.rows import PREDICTIONS
from wtflow_jax.flow.scores import HIGHEST
from wtflow_jax.metrics import figures
from wtflow_jax.metrics.figures import Tested
from wtflow_jax.support import untrusted
from wtflow_jax.support.atomic import replacing, sweep
from wtflow_jax.support.errors import WTFlowError, shown
from wtflow_jax.support.tables import Table

RESULTS = "results.json"
START = b"<!doctype html>"
"""First bytes of a page; one that is there is replaced."""
LAYERS = ("overlay", "image", "map", "mask")
PREDICTED: Mapping[str, Any] = {}
"""The one row of what ``wtflow predict`` has written."""


class Section(NamedTuple):
    """What the page shows of a row.

    Attributes:
        title: category, variant and seed.
        charts: by what each is called.
        images: of ``gallery``.
        labelled: whether it is known what they are.
        layers: which pictures there are.
        threshold: where the line starts; None where there are no images.
        threshold_from: where that threshold is from, a sentence.
        notes: sentences on what is not shown, and why.
    """

    title: str
    charts: dict[str, charts.Chart]
    images: list[gallery.Entry]
    labelled: bool
    layers: list[str]
    threshold: float | None
    threshold_from: str
    notes: list[str]


def write(run: Path, out: Path, most: int, advance: Callable[[int, int], object]) -> None:
    """Write the page of a run.

    Args:
        run: directory that an experiment, ``wtflow evaluate`` or ``wtflow predict`` has written.
        out: HTML file.
        most: images shown with pictures, over all rows.
        advance: told of rows: ``advance(done, of how many)``.

    Raises:
        WTFlowError: the directory holds no run, a file of it cannot be read, a package is missing,
            or ``out`` is a file of another kind.
    """
    _check_free(out)
    results = _results(run)
    jinja2, vl_convert = _packages()
    try:
        page = _page(run, results, most, advance, jinja2, vl_convert)
    # What else may be wrong with values of another type or range than an experiment's.
    except (
        *(LookupError, TypeError, ValueError, AttributeError, OverflowError),
        jinja2.TemplateError,
    ) as error:
        what = f"{type(error).__name__}: {error}"
        raise WTFlowError(f"{run / RESULTS}: is no results file ({what}); run it again") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    sweep(out.parent, f"{out.name}.")
    with replacing(out) as part:
        part.write_text(page, encoding="utf-8", errors="backslashreplace")


def _check_free(out: Path) -> None:
    """Raise WTFlowError where a file is there that is no page."""
    if out.is_file():
        with out.open("rb") as file:
            if file.read(len(START)) == START:
                return
    if out.exists():
        raise WTFlowError(f"{out}: is there already, and is no page; give another --out")


def _page(
    run: Path,
    results: Mapping[str, Any],
    most: int,
    advance: Callable[[int, int], object],
    jinja2: Any,
    vl_convert: Any,
) -> str:
    rows = results["rows"]
    share = max(1, most // max(1, sum("scores" in row for row in rows)))
    sections = []
    for row in rows:
        sections.append(of_predictions(run, most) if row is PREDICTED else section(run, row, share))
        advance(1, len(rows))
    files = resources.files("wtflow_jax.app.report")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    return environment.from_string((files / "page.html").read_text()).render(
        title=shown(f"{results['experiment']}: {run.resolve().name}"),
        tables=[Table(**table) for table in results.get("tables", [])],
        sections=[entry._asdict() for entry in sections],
        config=results["config"],
        environment=next((row["environment"] for row in rows if "environment" in row), {}),
        style=(files / "page.css").read_text(),
        script=(files / "page.js").read_text(),
        library=vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"),
    )


def _packages() -> tuple[Any, Any]:
    try:
        import jinja2
        import vl_convert
    except ImportError as error:
        raise WTFlowError(
            f"{error.name} is not installed; pip install 'wtflow-jax[report]'"
        ) from error
    return jinja2, vl_convert


def _results(run: Path) -> dict[str, Any]:
    path = run / RESULTS
    if (run / PREDICTIONS).is_file() and not path.exists():
        return {"experiment": "predict", "config": {}, "rows": [PREDICTED]}
    if not path.is_file():
        raise WTFlowError(
            f"{run}: is no run, {RESULTS} is not there; give the --out of wtflow predict, wtflow "
            "evaluate or an experiment"
        )
    try:
        results = untrusted.parse(path.read_bytes())
        missing = {"experiment", "config", "rows"} - set(results)
        if missing or not all("category" in row for row in results["rows"]):
            raise KeyError(*sorted(missing) or ["category"])
    except (ValueError, KeyError, TypeError) as error:
        raise WTFlowError(f"{path}: is no results file; give another run") from error
    return results


def section(run: Path, row: Mapping[str, Any], most: int) -> Section:
    """Return what is shown of a row.

    Args:
        run: its directory.
        row: of ``results.json``.
        most: images with pictures.
    """
    parts = [row["category"], row.get("variant"), f"seed {row['seed']}" if "seed" in row else None]
    title = ", ".join(filter(None, parts))
    drawn: dict[str, charts.Chart] = {}
    notes = list(row.get("undefined", []))
    images: list[gallery.Entry] = []
    threshold, source = None, ""
    tested = figures.load(untrusted.inside(run, row["scores"])) if "scores" in row else None
    if tested is not None:
        finite = np.isfinite(tested.scores) & np.isfinite(tested.maps).all(axis=(1, 2))
        if not finite.all():
            first = tested.paths[int(np.argmin(finite))]
            count = (~finite).sum()
            notes.append(f"Images whose scores are no numbers: {count}, the first is {first}.")
            tested = figures.some(tested, finite) if finite.any() else None
    if tested is not None:
        threshold, source = _threshold(row, tested)
        drawn |= _of_scores(tested, threshold)
        images, told = gallery.of_tested(tested, _colours(row), most)
        notes += told
    history = row.get("history") or []
    if any(entry.get("loss") is not None for entry in history):
        drawn["Loss"] = charts.by_epoch(history, {"loss": "loss"}, "loss")
        areas = {"image_auroc": charts.IMAGES, "pixel_auroc": charts.PIXELS}
        if any(entry.get(name) is not None for entry in history for name in areas):
            drawn["AUROC by epoch"] = charts.by_epoch(history, areas, "AUROC in %")
    elif "scores" in row:
        notes.append("Nothing was trained: there is no loss by epoch.")
    return Section(title, drawn, images, True, _layers(images), threshold, source, notes)


def of_predictions(run: Path, most: int) -> Section:
    """Return what is shown of the results of ``wtflow predict``."""
    images, notes, threshold = gallery.of_predictions(run, most)
    drawn: dict[str, charts.Chart] = {}
    if threshold is not None:
        scores = np.array([image["score"] for image in images])
        drawn["Scores"] = charts.histogram({charts.IMAGES: scores}, threshold)
    source = "the model's threshold"
    return Section("Predictions", drawn, images, False, _layers(images), threshold, source, notes)


def _layers(images: list[gallery.Entry]) -> list[str]:
    shown = {name for image in images for name in image.get("pictures", {})}
    return [name for name in LAYERS if name in shown]


def _colours(row: Mapping[str, Any]) -> tuple[float, float] | None:
    if row.get("colours") is None:
        return None
    low, high = row["colours"]
    if not -HIGHEST < low < high < HIGHEST:
        raise ValueError(f"colours from {low} to {high}")
    return low, high


def _threshold(row: Mapping[str, Any], tested: Tested) -> tuple[float, str]:
    decision = row.get("decision") or {}
    if decision.get("threshold") is not None:
        return decision["threshold"], (
            f"set by {decision['images']} good images that were not tested, to have "
            f"{decision['promised']:.1f} % of false alarms"
        )
    middle = float(tested.scores.min() + tested.scores.max()) / 2
    return middle, "no threshold was set: it starts in the middle, which means nothing"


def _of_scores(tested: Tested, threshold: float) -> dict[str, charts.Chart]:
    """Return the charts that scores and maps give."""
    labels, known = tested.labels, tested.known
    parts = {charts.GOOD: tested.scores[~labels], charts.DEFECTIVE: tested.scores[labels]}
    drawn = {"Scores": charts.histogram(parts, threshold)}
    curves: dict[str, metrics.Curves] = {}
    with figures.reasons():
        if found := metrics.curves(tested.scores, labels):
            curves[charts.IMAGES] = found
        if tested.masks is not None:
            masks = tested.masks[known]
            regions = metrics.label_regions(masks)
            if found := metrics.curves(tested.maps[known], masks, regions):
                curves[charts.PIXELS] = found
    if curves:
        drawn["ROC"] = charts.roc(curves)
        drawn["Precision and recall"] = charts.precision_recall(curves)
    line = curves[charts.PIXELS].overlap if charts.PIXELS in curves else None
    if line is not None:
        drawn["Per-region overlap (PRO)"] = charts.overlap(line)
    if tested.radii is not None:
        drawn["Radius on the way"] = charts.radial(tested.radii, labels)
    return drawn
