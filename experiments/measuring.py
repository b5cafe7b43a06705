"""One row of an experiment: a category under one config, and its model's scores as figures."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.progress import Progress

import models
from loader import Loader, Test
from wtflow_jax import decision, inference, metrics, report, sharding
from wtflow_jax.config import Config
from wtflow_jax.datasets import Category
from wtflow_jax.progress import bars

Row = dict[str, Any]

IMAGE = ("image_auroc", "image_auroc_map", "image_ap", "image_f1")
"""Metrics of images."""
PIXEL = {"auroc": "auroc", "ap": "average_precision", "f1": "f1_max", "aupro": "aupro"}
"""Metrics of pixels: their names here and in ``metrics.pixel_metrics``."""


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
        model = models.obtain(job.config, job.category.name, data.splits, progress)
        return figures(job.config, data.test, model, progress), data.test, model


def measure_and_draw(job: Job) -> Row:
    """As ``measure``; write ``scores.npz`` and ``maps.png`` of the last epoch too."""
    row, test, model = _measure(job)
    if not sharding.first():
        return row
    config = job.config
    cells = model.cells(model.epochs()[-1]).test
    prediction = inference.finish(cells, test.upsamplings[config.centres], config.top_fraction)
    job.out.mkdir(parents=True, exist_ok=True)
    np.savez(
        job.out / "scores.npz",
        path=np.array([str(sample.path) for sample in test.samples]),
        label=test.labels,
        score=prediction.scores,
        map=prediction.maps,
    )
    size = prediction.maps.shape[1:]
    report.save_maps(job.out / "maps.png", test.samples, test.masks, prediction, size)
    return row


def figures(config: Config, test: Test, model: models.Model, progress: Progress) -> Row:
    """Return every metric of a model in %: mean, std and last value over its last epochs."""
    epochs = model.epochs()[-min(models.LAST, config.epochs) :]
    task = progress.add_task("metrics", total=len(epochs), note="epochs")
    each = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", metrics.UndefinedMetric)
        for epoch in epochs:
            each.append(_metrics(config, test, model.cells(epoch).test))
            progress.advance(task)
        if not 0 < test.labels.sum() < len(test.labels):
            # Pixels of defective images alone have metrics: most of them are good.
            kind, of = ("good", " of images") if test.labels.any() else ("defective", "")
            message = f"no {kind} test image: there are scores and maps, and no metrics{of}"
            warnings.warn(message, metrics.UndefinedMetric, stacklevel=1)
        if unknown := int((~test.known).sum()):
            first = test.samples[int(np.argmin(test.known))].path
            message = (
                f"pixels of {unknown} defective images are not known, the first is {first}: "
                "it has no mask, and they are left out"
            )
            warnings.warn(message, metrics.UndefinedMetric, stacklevel=1)
    undefined = [w for w in caught if issubclass(w.category, metrics.UndefinedMetric)]
    row: Row = {"model": model.directory.name}
    for name in each[0]:
        values = [one[name] for one in each]
        if None in values:
            row[name] = None
        else:
            row |= {name: float(np.mean(values)), f"{name}_std": float(np.std(values))}
            row[f"{name}_final"] = values[-1]
    history = [dict(entry) for entry in model.history]
    for epoch, one in zip(epochs, each, strict=True):
        next(entry for entry in history if entry["epoch"] == epoch).update(one)
    losses = [entry["loss"] for entry in history[-len(epochs) :]]
    norms = {split: np.array(norms) for split, norms in model.norms.items()}
    return row | {
        "undefined": list(dict.fromkeys(str(w.message) for w in undefined)),
        "decision": _decide(config, test, model.cells(epochs[-1])),
        "loss": None if None in losses else float(np.mean(losses)),
        "x0_norm": {
            "train": _mean(norms["train"]),
            "test_good": _mean(norms["test"][~test.labels]),
            "test_defective": _mean(norms["test"][test.labels]),
        },
        "seconds": {
            name: sum(entry.get(f"seconds_{name}", 0.0) for entry in history)
            for name in ("train", "evaluate")
        },
        "environment": model.environment,
        "history": history,
    }


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def percent(value: float | None) -> float | None:
    """Return a share in %; None stays None."""
    return None if value is None else 100 * value


def _metrics(
    config: Config, test: Test, cells: inference.CellPrediction
) -> dict[str, float | None]:
    """Return the metrics of one epoch in %."""
    chosen = test.upsamplings[config.centres]
    image, maps = inference.finish(cells, chosen, config.top_fraction)
    # The score of the map that is shown, where images are scored after other steps.
    same = cells._replace(detection=cells.localization)
    by_map = image
    if config.steps_det != config.steps_loc:
        by_map = inference.finish(same, chosen, config.top_fraction).scores
    found: dict[str, float | None] = dict.fromkeys(IMAGE)
    # Which of the two is lacking is said once, by ``figures``.
    if 0 < test.labels.sum() < len(test.labels):
        f1 = metrics.f1_max(image, test.labels)
        found = {
            "image_auroc": percent(metrics.auroc(image, test.labels)),
            "image_auroc_map": percent(metrics.auroc(by_map, test.labels)),
            "image_ap": percent(metrics.average_precision(image, test.labels)),
            "image_f1": None if f1 is None else 100 * f1.value,
        }
    kinds = [sample.kind for sample in test.samples]
    for kind in sorted({kind for kind, bad in zip(kinds, test.labels, strict=True) if bad}):
        of_kind = np.array([k == kind for k in kinds])
        some = ~test.labels | of_kind
        found[f"image_auroc {kind}"] = percent(metrics.auroc(image[some], of_kind[some]))
    if test.masks is None or not test.labels[test.known].any():
        found |= dict.fromkeys(f"pixel_{name}" for name in PIXEL)
    else:
        # A copy only where it must be one: maps are large.
        masks, known = test.masks, slice(None) if test.known.all() else test.known
        pixel = metrics.pixel_metrics(maps[known], masks[known], test.regions)
        found |= {f"pixel_{name}": percent(pixel[key]) for name, key in PIXEL.items()}
        for name, upsampling in test.upsamplings.items():
            other = found["pixel_auroc"]
            if name != config.centres:
                pixels = inference.upsample(cells.localization, upsampling)
                other = percent(metrics.auroc(pixels[known], masks[known]))
            found[f"pixel_auroc_{name}"] = other
    if test.saturated is not None:
        found["pixel_spro"] = percent(metrics.spro(maps, test.saturated))
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
    found = inference.finish(cells.test, upsampling, config.top_fraction).scores > threshold.value
    return {
        "threshold": threshold.value,
        "promised": percent(threshold.rate),
        "images": len(held_out),
        "false_alarms": percent(_mean(found[~test.labels])),
        "detected": percent(_mean(found[test.labels])),
    }
