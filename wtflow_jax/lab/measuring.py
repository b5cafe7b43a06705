"""Measures a model: every metric, the decisions of the threshold, and pictures."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from wtflow_jax import metrics
from wtflow_jax.detector import route
from wtflow_jax.detector.route import Cells
from wtflow_jax.flow.scores import Score, cell_scores
from wtflow_jax.lab import scored
from wtflow_jax.lab.category import Ready
from wtflow_jax.lab.job import Job
from wtflow_jax.lab.maps import save_maps
from wtflow_jax.lab.results import Row
from wtflow_jax.lab.scored import Scored
from wtflow_jax.lab.store import LAST
from wtflow_jax.metrics import Regions, summary
from wtflow_jax.metrics.summary import Figures
from wtflow_jax.metrics.threshold import threshold
from wtflow_jax.training import sharding

_cells = jax.jit(cell_scores, static_argnames=("score", "channels"))


def measure_and_draw(job: Job) -> Row:
    """Like ``measure``, and write ``scores.npz`` and ``maps.png`` of the last epoch."""
    return measure(job, draw=True)


def measure(job: Job, draw: bool = False) -> Row:
    """Obtain a row's model and return its metrics in %: mean, std and last of the last epochs.

    ``history`` has the metrics of every evaluated epoch.
    """
    ready = job.ready()
    model = job.obtain(ready)
    advance = job.track("metrics", len(model.cells))
    figures: dict[int, Row] = {}
    last = None
    with summary.reasons() as undefined:
        for epoch, cells in model.cells.items():
            last = _scored(job, ready, cells["test"])
            figures[epoch] = _metrics(job, ready, cells["test"], last)
            advance()
        assert last is not None
        scored.warn(last)
    if draw and sharding.first():
        job.out.mkdir(parents=True, exist_ok=True)
        scored.save(job.out / scored.FILE, last._replace(radii=model.radii))
        save_maps(job.out / "maps.png", [sample.path for sample in ready.samples], last)
    row: Row = {"model": model.directory.name}
    lately = min(LAST, job.config.training.epochs)
    for name in next(iter(figures.values())):
        values = [of_epoch[name] for of_epoch in figures.values()][-lately:]
        row[name] = None
        if None not in values:
            row |= {name: float(np.mean(values)), f"{name}_std": float(np.std(values))}
            row[f"{name}_final"] = values[-1]
    history = [entry | figures.get(entry["epoch"], {}) for entry in model.history]
    losses = [entry["loss"] for entry in history[-lately:]]
    train, test = (np.array(model.norms[name]) for name in ("train", "test"))
    of = {"train": train, "test_good": test[~ready.labels], "test_defective": test[ready.labels]}
    held_out = list(model.cells.values())[-1]["validation"]
    row |= {
        "undefined": undefined,
        "decision": _decide(job, ready, held_out, last),
        "loss": None if None in losses else float(np.mean(losses)),
        "x0_norm": {name: summary.mean(norms) for name, norms in of.items()},
        "seconds": {
            name: sum(entry.get(f"seconds_{name}", 0.0) for entry in history)
            for name in ("train", "evaluate")
        },
        "environment": model.environment,
        "history": history,
    }
    if ready.lie is not None:
        row["pose"] = {"turned": ready.poses is not None, **ready.lie._asdict()}
    return row | ({"scores": f"{job.out.name}/{scored.FILE}"} if draw else {})


def aurocs(job: Job, ready: Ready, ends: Any, score: Score | str) -> tuple[float | None, ...]:
    """Return image and pixel AUROC in % from the test images' endpoints (n, h, w, c)."""
    cells = np.asarray(_cells(jnp.asarray(ends), score, job.config.wt.channels))
    found, pixel = job.finish(ready, Cells(cells, cells)), None
    if ready.masks is not None:
        pixel = metrics.auroc(found.maps[ready.known], ready.masks[ready.known])
    return summary.percent(metrics.auroc(found.scores, ready.labels)), summary.percent(pixel)


def _scored(job: Job, ready: Ready, cells: Cells) -> Scored:
    names = [str(sample.path) for sample in ready.samples]
    kinds = [sample.kind for sample in ready.samples]
    found = job.finish(ready, cells)
    return Scored(names, kinds, ready.labels, ready.known, *found, ready.masks)


def _figures(found: Scored, regions: Regions | None = None) -> Figures:
    """Return the metrics of images and of pixels in %."""
    known, masks = _known(found)
    images = summary.of_images(found.scores, found.labels, found.kinds)
    pixels = metrics.measure("pixel", found.maps[known], masks, regions)
    return images | {name: summary.percent(share) for name, share in pixels.items()}


def _known(found: Scored) -> tuple[Any, Bool[np.ndarray, "m H W"] | None]:
    """Return the images whose pixels are known, and their masks; None if no defect has a mask."""
    known = slice(None) if found.known.all() else found.known
    drawn = found.masks is not None and found.labels[known].any()
    return known, found.masks[known] if found.masks is not None and drawn else None


def _metrics(job: Job, ready: Ready, cells: Cells, found: Scored) -> Figures:
    """Return the metrics of one epoch in %."""
    figures, inference = _figures(found, ready.regions), job.config.inference
    # If images are scored after other steps than pixels: AUROC of scores from the pixels' map.
    by_map = figures["image_auroc"]
    if by_map is not None and inference.steps_det != inference.steps_loc:
        same = job.finish(ready, Cells(cells.localization, cells.localization))
        by_map = summary.percent(metrics.auroc(same.scores, ready.labels))
    figures["image_auroc_map"] = by_map
    known, masks = _known(found)
    if masks is not None:
        for name in ready.where:
            other = figures["pixel_auroc"]
            if name != job.config.decision.centres:
                maps = job.finish(ready, cells, name).maps
                other = summary.percent(metrics.auroc(maps[known], masks))
            figures[f"pixel_auroc_{name}"] = other
    if ready.saturated is not None:
        figures["pixel_spro"] = summary.percent(metrics.spro(found.maps, ready.saturated))
    return figures


def metrics_of(found: Scored) -> Row:
    """Return every metric of scored test images in %, and why some are undefined."""
    with summary.reasons() as undefined:
        row: Row = _figures(found)
        scored.warn(found)
    return row | {"undefined": undefined}


def _decide(job: Job, ready: Ready, held_out: Cells, last: Scored) -> dict[str, Any]:
    """Return the threshold from held-out good images and its decisions on the test images."""
    if not len(held_out.detection):
        asked = job.setup.data.validation
        single = "only one training image, so no image to hold out"
        missing = "no held-out good images: give --validation 0.1"
        return {"threshold": None, "why": single if asked else missing}
    asked = job.config.decision
    scores = route.finish(held_out, ready.where[asked.centres], asked.top_fraction).scores
    found = threshold(scores, asked.false_alarms)
    return summary.decided(found, len(scores), last.scores, ready.labels)
