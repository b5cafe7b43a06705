"""What is measured of a model: every metric, what a threshold does, and pictures."""

from functools import partial
from typing import Any

import numpy as np

from wtflow_jax import metrics
from wtflow_jax.detector import route
from wtflow_jax.detector.config import Config
from wtflow_jax.detector.route import Cells, Prediction
from wtflow_jax.lab import scored
from wtflow_jax.lab.category import Ready
from wtflow_jax.lab.job import Job
from wtflow_jax.lab.maps import save_maps
from wtflow_jax.lab.results import Row
from wtflow_jax.lab.scored import Scored
from wtflow_jax.lab.store import LAST, Trained
from wtflow_jax.metrics import summary
from wtflow_jax.metrics.threshold import threshold
from wtflow_jax.support.console import Track, bars
from wtflow_jax.training import sharding


def measure(job: Job, draw: bool = False) -> Row:
    """Obtain a row's model and return its figures, the means over the last evaluated epochs.

    Args:
        job: the row.
        draw: whether to write ``scores.npz`` and ``maps.png`` of the last epoch too.
    """
    with bars() as track:
        ready = job.ready(track)
        model = job.obtain(ready, track)
        row, last = measured(job, ready, model, track)
    if not (draw and sharding.first()):
        return row
    found = Scored(
        [str(sample.path) for sample in ready.samples],
        [sample.kind for sample in ready.samples],
        ready.labels,
        ready.known,
        last.scores,
        last.maps,
        ready.masks,
        model.radii,
    )
    job.out.mkdir(parents=True, exist_ok=True)
    scored.save(job.out / scored.FILE, found)
    save_maps(job.out / "maps.png", [sample.path for sample in ready.samples], found)
    return row | {"scores": f"{job.out.name}/{scored.FILE}"}


def measure_and_draw(job: Job) -> Row:
    """As ``measure``, with ``scores.npz`` and ``maps.png``."""
    return measure(job, draw=True)


def measured(job: Job, ready: Ready, model: Trained, track: Track) -> tuple[Row, Prediction]:
    """Return every metric of a model in %: mean, std and last value over its last epochs.

    ``history`` has those of every epoch that was evaluated. The scores of the last one come too.
    """
    config = job.config
    advance, each, last = track("metrics", len(model.cells)), {}, None
    with summary.reasons() as undefined:
        for epoch, cells in model.cells.items():
            each[epoch], last = _metrics(config, ready, cells["test"])
            advance()
        paths = [str(sample.path) for sample in ready.samples]
        scored.warn(paths, ready.labels, ready.known, ready.masks)
    assert last is not None
    row: Row = {"model": model.directory.name}
    lately = min(LAST, config.training.epochs)
    for name in next(iter(each.values())):
        values = [one[name] for one in each.values()][-lately:]
        if None in values:
            row[name] = None
        else:
            row |= {name: float(np.mean(values)), f"{name}_std": float(np.std(values))}
            row[f"{name}_final"] = values[-1]
    history = [entry | each.get(entry["epoch"], {}) for entry in model.history]
    losses = [entry["loss"] for entry in history[-lately:]]
    norms = {split: np.array(norms) for split, norms in model.norms.items()}
    return row | {
        "undefined": undefined,
        "decision": _decide(job, ready, [*model.cells.values()][-1]["validation"], last),
        "loss": None if None in losses else float(np.mean(losses)),
        "x0_norm": {
            "train": summary.mean(norms["train"]),
            "test_good": summary.mean(norms["test"][~ready.labels]),
            "test_defective": summary.mean(norms["test"][ready.labels]),
        },
        "seconds": {
            name: sum(entry.get(f"seconds_{name}", 0.0) for entry in history)
            for name in ("train", "evaluate")
        },
        "environment": model.environment,
        "history": history,
    }, last


def _metrics(
    config: Config, ready: Ready, cells: Cells
) -> tuple[dict[str, float | None], Prediction]:
    """Return the metrics of one epoch in %, and its scores."""
    asked, inference = config.decision, config.inference
    finish = partial(route.finish, top_fraction=asked.top_fraction)
    prediction = finish(cells, ready.where[asked.centres])
    image, maps = prediction
    found = summary.of_images(image, ready.labels, [sample.kind for sample in ready.samples])
    # The score of the map that is shown, where images are scored after other steps.
    by_map = found["image_auroc"]
    if by_map is not None and inference.steps_det != inference.steps_loc:
        same = finish(Cells(cells.localization, cells.localization), ready.where[asked.centres])
        by_map = summary.percent(metrics.auroc(same.scores, ready.labels))
    found["image_auroc_map"] = by_map
    known = slice(None) if ready.known.all() else ready.known
    drawn = ready.masks is not None and ready.labels[ready.known].any()
    masks = ready.masks[known] if ready.masks is not None and drawn else None
    found |= summary.of_pixels(maps[known], masks, ready.regions)
    for name, where in ready.where.items() if drawn else ():
        other = found["pixel_auroc"]
        if masks is not None and name != asked.centres:
            other = summary.percent(metrics.auroc(finish(cells, where).maps[known], masks))
        found[f"pixel_auroc_{name}"] = other
    if ready.saturated is not None:
        found["pixel_spro"] = summary.percent(metrics.spro(maps, ready.saturated))
    return found, prediction


def metrics_of(found: Scored) -> Row:
    """Return every metric of scored test images in %, and why some are undefined."""
    with summary.reasons() as undefined:
        row: Row = summary.of_images(found.scores, found.labels, found.kinds)
        known, masks = found.known, found.masks
        row |= summary.of_pixels(found.maps[known], None if masks is None else masks[known])
        scored.warn(found.paths, found.labels, found.known, found.masks)
    return row | {"undefined": undefined}


def _decide(job: Job, ready: Ready, held_out: Cells, last: Prediction) -> dict[str, Any]:
    """Return the threshold of held-out good images and what it does to the test images."""
    asked = job.config.decision
    if not len(held_out.detection):
        why = "no held-out good images: give --validation 0.1"
        if job.setup.data.validation:
            why = "one training image, none to hold out"
        return {"threshold": None, "why": why}
    scores = route.finish(held_out, ready.where[asked.centres], asked.top_fraction).scores
    return summary.decided(
        threshold(scores, asked.false_alarms), len(scores), last.scores, ready.labels
    )
