"""One HTML page of a run: it opens from disk, and nothing is fetched from elsewhere."""

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from wtflow_jax import figures, metrics
from wtflow_jax.atomic import replacing
from wtflow_jax.datasets import open_image
from wtflow_jax.errors import WTFlowError
from wtflow_jax.figures import Tested
from wtflow_jax.report import charts, pictures
from wtflow_jax.tables import Table

RESULTS = "results.json"
TOP = 0.995
"""Quantile of the maps where the colour scale ends, unless the run says otherwise."""


class Section(NamedTuple):
    """What the page shows of a row.

    Attributes:
        title: category, variant and seed.
        charts: by what each is called.
        images: an entry an image: path, kind, whether it is defective, score, and its pictures.
        threshold: where the line starts; None where there are no images.
        threshold_from: where that threshold is from, a sentence.
        notes: sentences on what is not shown, and why.
    """

    title: str
    charts: dict[str, charts.Chart]
    images: list[dict[str, Any]]
    threshold: float | None
    threshold_from: str
    notes: list[str]


def write(run: Path, out: Path, most: int, advance: Callable[[int, int], object]) -> None:
    """Write the page of a run.

    Args:
        run: directory that an experiment or ``wtflow evaluate`` has written.
        out: HTML file.
        most: images shown with pictures, over all rows.
        advance: told of rows: ``advance(done, of how many)``.

    Raises:
        WTFlowError: the directory holds no run, a file of it cannot be read, or a package is
            missing.
    """
    jinja2, vl_convert = _packages()
    results = _results(run)
    rows = results["rows"]
    with_images = [row for row in rows if "scores" in row]
    sections = []
    for row in rows:
        share = most // len(with_images) if "scores" in row else 0
        sections.append(section(run, row, max(1, share)))
        advance(1, len(rows))
    files = resources.files("wtflow_jax.report")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    page = environment.from_string((files / "page.html").read_text()).render(
        title=f"{results['experiment']}: {run.resolve().name}",
        tables=[Table(**table) for table in results.get("tables", [])],
        sections=[entry._asdict() for entry in sections],
        config=results["config"],
        environment=rows[0].get("environment", {}) if rows else {},
        style=(files / "page.css").read_text(),
        script=(files / "page.js").read_text(),
        library=vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as part:
        part.write_text(page, encoding="utf-8")


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
    if not path.is_file():
        raise WTFlowError(
            f"{run}: is no run, {RESULTS} is not there; give the --out of wtflow evaluate or of an "
            "experiment"
        )
    try:
        results = json.loads(path.read_text())
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
    images: list[dict[str, Any]] = []
    threshold, source = None, ""
    if "scores" in row:
        tested = figures.load(run / row["scores"])
        threshold, source = _threshold(row, tested)
        drawn |= _of_scores(tested, threshold)
        images, told = _images(tested, row.get("colours"), most)
        notes += told
    history = row.get("history") or []
    if any(entry.get("loss") is not None for entry in history):
        drawn["Loss"] = charts.by_epoch(history, {"loss": "loss"}, "loss")
        areas = {"image_auroc": charts.IMAGES, "pixel_auroc": charts.PIXELS}
        if any(entry.get(name) is not None for entry in history for name in areas):
            drawn["AUROC by epoch"] = charts.by_epoch(history, areas, "AUROC in %")
    elif "scores" in row:
        notes.append("Nothing was trained: there is no loss by epoch.")
    return Section(title, drawn, images, threshold, source, notes)


def _threshold(row: Mapping[str, Any], tested: Tested) -> tuple[float, str]:
    decision = row.get("decision") or {}
    if decision.get("threshold") is not None:
        return decision["threshold"], (
            f"set by {decision['images']} good images that were not tested, for "
            f"{decision['promised']:.1f} % of false alarms at most"
        )
    middle = float(tested.scores.min() + tested.scores.max()) / 2
    return middle, "no threshold was set: it starts in the middle, which means nothing"


def _of_scores(tested: Tested, threshold: float) -> dict[str, charts.Chart]:
    """Return the charts that scores and maps give."""
    labels, known = tested.labels, tested.known
    drawn = {"Scores": charts.histogram(tested.scores, labels, threshold)}
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
    if charts.PIXELS in curves:
        drawn["Per-region overlap (PRO)"] = charts.overlap(curves[charts.PIXELS])
    if tested.radii is not None:
        drawn["Radius on the way"] = charts.radial(tested.radii, labels)
    return drawn


def _images(
    tested: Tested, colours: Sequence[float] | None, most: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return an entry an image, some with pictures, and notes on what is not there."""
    count = len(tested.paths)
    ascending = np.argsort(tested.scores, kind="stable")
    chosen = set(ascending[np.linspace(0, count - 1, min(most, count)).round().astype(int)])
    low, high = colours or (tested.maps.min(), np.quantile(tested.maps, TOP))
    scale = float(low), max(float(high), float(low) + 1e-9)
    entries, failed = [], []
    for i, path in enumerate(tested.paths):
        entry: dict[str, Any] = {
            "path": path,
            "kind": tested.kinds[i],
            "defective": bool(tested.labels[i]),
            "score": float(tested.scores[i]),
        }
        if i in chosen:
            values = pictures.scaled(tested.maps[i], scale)
            shown = {"map": pictures.embedded(pictures.coloured(values))}
            try:
                size = values.shape[::-1]
                image = open_image(Path(path)).resize(size, Image.Resampling.BILINEAR)
                pixels = np.asarray(image)
                shown["image"] = pictures.embedded(pixels)
                shown["overlay"] = pictures.embedded(pictures.overlay(pixels, values))
            except WTFlowError as error:
                failed.append(str(error))
            if tested.masks is not None and tested.known[i]:
                shown["mask"] = pictures.embedded(tested.masks[i])
            entry["pictures"] = shown
        entries.append(entry)
    notes = []
    if failed:
        notes.append(f"{len(failed)} images are not shown, only their maps; the first: {failed[0]}")
    if len(chosen) < count:
        notes.append(
            f"{len(chosen)} of {count} images have pictures, evenly spread over the scores; all "
            "are in the figures (--pictures shows more)."
        )
    return entries, notes
