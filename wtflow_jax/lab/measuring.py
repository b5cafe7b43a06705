"""One row of an experiment: a category under one config, and its model's scores as summary."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.progress import Progress

from wtflow_jax import metrics
from wtflow_jax.data import Category
from wtflow_jax.detector import inference
from wtflow_jax.detector.config import Config
from wtflow_jax.lab import models, scored, training
from wtflow_jax.lab.loader import Loader, Test
from wtflow_jax.lab.maps import save_maps
from wtflow_jax.metrics import summary
from wtflow_jax.metrics import threshold as decision
from wtflow_jax.support.progress import bars
from wtflow_jax.training import sharding

Row = dict[str, Any]


class Job(NamedTuple):
    """One row of an experiment: a category under one config.

    Attributes:
        config: the row's.
        category: its images.
        loader: opens them.
        out: directory of the category's files.
    """

    config: Config
    category: Category
    loader: Loader
    out: Path


def measure(job: Job) -> Row:
    """Obtain the model and return its figures, the means over the last evaluated epochs."""
    return _measure(job)[0]


def _measure(job: Job) -> tuple[Row, Test, models.Model]:
    with bars() as progress:
        data = job.loader.data(job.config, job.category, progress)
        model = training.obtain(job.config, job.category.name, data.splits, progress)
        return measured(job.config, data.test, model, progress), data.test, model


def measure_and_draw(job: Job) -> Row:
    """As ``measure``; write ``scores.npz`` and ``maps.png`` of the last epoch too."""
    row, test, model = _measure(job)
    if not sharding.first():
        return row
    config = job.config
    cells = model.cells(model.epochs()[-1]).test
    prediction = inference.finish(cells, test.upsamplings[config.centres], config.top_fraction)
    job.out.mkdir(parents=True, exist_ok=True)
    tested = scored.Scored(
        [str(sample.path) for sample in test.samples],
        [sample.kind for sample in test.samples],
        test.labels,
        test.known,
        prediction.scores,
        prediction.maps,
        test.masks,
        model.radii,
    )
    scored.save(job.out / scored.FILE, tested)
    save_maps(job.out / "maps.png", [sample.path for sample in test.samples], tested)
    return row | {"scores": f"{job.out.name}/{scored.FILE}"}


def measured(config: Config, test: Test, model: models.Model, progress: Progress) -> Row:
    """Return every metric of a model in %: mean, std and last value over its last epochs.

    ``history`` has those of every epoch that was evaluated.
    """
    epochs = model.epochs()
    last = -min(models.LAST, config.epochs)
    task = progress.add_task("metrics", total=len(epochs), note="epochs")
    each = []
    with summary.reasons() as undefined:
        for epoch in epochs:
            each.append(_metrics(config, test, model.cells(epoch).test))
            progress.advance(task)
        paths = [str(sample.path) for sample in test.samples]
        scored.warn(paths, test.labels, test.known, test.masks)
    row: Row = {"model": model.directory.name}
    for name in each[0]:
        values = [one[name] for one in each[last:]]
        if None in values:
            row[name] = None
        else:
            row |= {name: float(np.mean(values)), f"{name}_std": float(np.std(values))}
            row[f"{name}_final"] = values[-1]
    history = [dict(entry) for entry in model.history]
    for epoch, one in zip(epochs, each, strict=True):
        next(entry for entry in history if entry["epoch"] == epoch).update(one)
    losses = [entry["loss"] for entry in history[last:]]
    norms = {split: np.array(norms) for split, norms in model.norms.items()}
    return row | {
        "undefined": undefined,
        "decision": _decide(config, test, model.cells(epochs[-1])),
        "loss": None if None in losses else float(np.mean(losses)),
        "x0_norm": {
            "train": summary.mean(norms["train"]),
            "test_good": summary.mean(norms["test"][~test.labels]),
            "test_defective": summary.mean(norms["test"][test.labels]),
        },
        "seconds": {
            name: sum(entry.get(f"seconds_{name}", 0.0) for entry in history)
            for name in ("train", "evaluate")
        },
        "environment": model.environment,
        "history": history,
    }


def _metrics(
    config: Config, test: Test, cells: inference.CellPrediction
) -> dict[str, float | None]:
    """Return the metrics of one epoch in %."""
    chosen = test.upsamplings[config.centres]
    image, maps = inference.finish(cells, chosen, config.top_fraction)
    found = summary.of_images(image, test.labels, [sample.kind for sample in test.samples])
    # The score of the map that is shown, where images are scored after other steps.
    by_map = found["image_auroc"]
    if by_map is not None and config.steps_det != config.steps_loc:
        same = cells._replace(detection=cells.localization)
        shown = inference.finish(same, chosen, config.top_fraction).scores
        by_map = summary.percent(metrics.auroc(shown, test.labels))
    found["image_auroc_map"] = by_map
    if test.masks is None or not test.labels[test.known].any():
        found |= summary.of_pixels(maps, None)
    else:
        # A copy only where it must be one: maps are large.
        masks, known = test.masks, slice(None) if test.known.all() else test.known
        found |= summary.of_pixels(maps[known], masks[known], test.regions)
        for name, upsampling in test.upsamplings.items():
            other = found["pixel_auroc"]
            if name != config.centres:
                pixels = inference.upsample(cells.localization, upsampling)
                other = summary.percent(metrics.auroc(pixels[known], masks[known]))
            found[f"pixel_auroc_{name}"] = other
    if test.saturated is not None:
        found["pixel_spro"] = summary.percent(metrics.spro(maps, test.saturated))
    return found


def _decide(config: Config, test: Test, cells: models.Cells) -> Row:
    """Return the threshold of held-out good images and what it does to the test images."""
    upsampling = test.upsamplings[config.centres]
    if not len(cells.validation.detection):
        why = "no held-out good images: give --validation 0.1"
        if config.validation:
            why = "one training image, none to hold out"
        return {"threshold": None, "why": why}
    held_out = inference.finish(cells.validation, upsampling, config.top_fraction).scores
    threshold = decision.threshold(held_out, config.false_alarms)
    scores = inference.finish(cells.test, upsampling, config.top_fraction).scores
    return summary.decided(threshold, len(held_out), scores, test.labels)
