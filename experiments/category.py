"""One category of an experiment: its images as features, and a model's scores as figures."""

import hashlib
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

import models
from wtflow_jax import backbones, datasets, decision, detector, metrics, report, scores
from wtflow_jax.backbones import features
from wtflow_jax.config import Config
from wtflow_jax.datasets import Category, Sample
from wtflow_jax.datasets.split import hold_out
from wtflow_jax.errors import WTFlowError

Row = dict[str, Any]

PIXEL = {"auroc": "auroc", "ap": "average_precision", "f1": "f1_max", "aupro": "aupro"}
"""Metrics of pixels: their names here and in ``metrics.pixel_metrics``."""


def bars() -> Progress:
    """Return progress bars on standard error; each has a ``note``."""
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


class Test(NamedTuple):
    """The test images and what is known of them.

    Attributes:
        samples: the images.
        labels: whether each is defective, (n,) bool.
        masks: their defective pixels; None where a defect has none.
        regions: of the masks, as the metrics take them; None likewise.
        saturated: MVTec LOCO's regions with their saturation; empty elsewhere.
        upsamplings: from cells to pixels, by the convention of cell centres.
    """

    samples: Sequence[Sample]
    labels: Bool[np.ndarray, " n"]
    masks: Bool[np.ndarray, "n H W"] | None
    regions: metrics.Regions | None
    saturated: Sequence[metrics.Region]
    upsamplings: dict[str, scores.Upsampling]


class Data(NamedTuple):
    """A category, ready for a model: see ``models.Splits`` and ``Test``."""

    splits: models.Splits
    test: Test


class Loader:
    """Opens categories; the last backbone and the last category are kept for the next row."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._backbone: tuple[Any, backbones.Backbone] | None = None
        self._data: tuple[Any, Data] | None = None

    def backbone(self, config: Config) -> backbones.Backbone:
        """Return a config's backbone."""
        key = config.backbone, config.layer, config.weights, config.cache
        if self._backbone is None or self._backbone[0] != key:
            loaded = backbones.load(
                config.backbone, layer=config.layer, weights=config.weights, cache=config.cache
            )
            self._backbone = key, loaded
        return self._backbone[1]

    def data(self, config: Config, category: Category, progress: Progress) -> Data:
        """Return a category's features and masks.

        Raises:
            WTFlowError: an image, a mask, the weights or the cache cannot be used.
        """
        images = config.image_size, config.dense, config.validation
        key = config.backbone, config.layer, config.weights, *images, category
        if self._data is None or self._data[0] != key:
            self._data = None
            self._data = key, self._load(config, category, progress)
        return self._data[1]

    def _load(self, config: Config, category: Category, progress: Progress) -> Data:
        size = datasets.parse_size(config.image_size)
        train, validation = list(category.train), list(category.validation)
        if not validation:
            train, validation = hold_out(train, round(config.validation * len(train)))
        # Masks first: they are quick, and a bad one is told of before minutes of work.
        masks, saturated = _masks(category, size), _saturated(category, size)
        backbone = self.backbone(config)
        parts = [train, category.test, validation]
        total = sum(map(len, parts))
        task = progress.add_task(f"{category.name}: features", total=total, note="images")

        def extract(samples: Sequence[Sample]) -> models.FeatureMaps:
            advance = partial(progress.advance, task)
            return features.extract(
                backbone, samples, size, config.cache, advance, dense=config.dense
            )

        digest = hashlib.sha256()
        for part in parts:
            digest.update(features.digest(backbone, part, size, config.dense).encode())
        maps = [extract(part) for part in parts[:2]]
        maps.append(extract(validation) if validation else np.zeros_like(maps[0][:0]))
        grid = features.grid(backbone, config.dense)
        test = Test(
            samples=category.test,
            labels=np.array([sample.label for sample in category.test], bool),
            masks=masks,
            regions=None if masks is None else metrics.label_regions(masks),
            saturated=saturated,
            upsamplings={
                name: scores.upsampling(size, maps[1].shape[1:3], grid.stride, offset)
                for name, offset in (("true", grid.offset), ("half_pixel", None))
            },
        )
        return Data(models.Splits(maps[0], maps[1], maps[2], digest.hexdigest()), test)


def _masks(category: Category, size: tuple[int, int]) -> Bool[np.ndarray, "n H W"] | None:
    defective = [sample for sample in category.test if sample.label]
    if not all(sample.masks for sample in defective):
        return None
    masks = np.stack([datasets.read_mask(sample, size) for sample in category.test])
    if defective and not masks.any():
        raise WTFlowError(
            f"{defective[0].masks[0]}: neither it nor another mask marks a pixel; check them"
        )
    return masks


def _saturated(category: Category, size: tuple[int, int]) -> list[metrics.Region]:
    if not category.saturations:
        return []
    return [
        metrics.Region(i, region.mask, region.saturation)
        for i, sample in enumerate(category.test)
        for region in datasets.regions(sample, size, category.saturations)
    ]


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
    with bars() as progress:
        data = job.loader.data(job.config, job.category, progress)
        model = models.obtain(job.config, job.category.name, data.splits, progress)
        return figures(job.config, data.test, model, progress)


def measure_and_draw(job: Job) -> Row:
    """As ``measure``; write ``scores.npz`` and ``maps.png`` of the last epoch too."""
    row = measure(job)
    config = job.config
    with bars() as progress:
        data = job.loader.data(config, job.category, progress)
        test = data.test
        cells = models.obtain(config, job.category.name, data.splits, progress)
        cells = cells.cells(cells.epochs()[-1]).test
    prediction = detector.finish(cells, test.upsamplings[config.centres], config.top_fraction)
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
    reasons: dict[str, None] = {}
    each = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", metrics.UndefinedMetric)
        for epoch in epochs:
            each.append(_metrics(config, test, model.cells(epoch).test))
            progress.advance(task)
        if test.masks is None:
            warnings.warn("a defective image has no mask", metrics.UndefinedMetric, stacklevel=1)
        reasons |= {str(w.message): None for w in caught}
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
        "undefined": list(reasons),
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


def _metrics(config: Config, test: Test, cells: detector.CellPrediction) -> dict[str, float | None]:
    """Return the metrics of one epoch in %."""
    chosen = test.upsamplings[config.centres]
    image, maps = detector.finish(cells, chosen, config.top_fraction)
    # The score of the map that is shown, where images are scored after other steps.
    same = cells._replace(detection=cells.localization)
    by_map = image
    if config.steps_det != config.steps_loc:
        by_map = detector.finish(same, chosen, config.top_fraction).scores
    f1 = metrics.f1_max(image, test.labels)
    found: dict[str, float | None] = {
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
    if test.masks is None:
        found |= dict.fromkeys(f"pixel_{name}" for name in PIXEL)
    else:
        pixel = metrics.pixel_metrics(maps, test.masks, test.regions)
        found |= {f"pixel_{name}": percent(pixel[key]) for name, key in PIXEL.items()}
        for name, upsampling in test.upsamplings.items():
            other = found["pixel_auroc"]
            if name != config.centres:
                pixels = detector.upsample(cells.localization, upsampling)
                other = percent(metrics.auroc(pixels, test.masks))
            found[f"pixel_auroc_{name}"] = other
    if test.saturated:
        found["pixel_spro"] = percent(metrics.spro(maps, test.saturated))
    return found


def _decide(config: Config, test: Test, cells: models.Cells) -> Row:
    """Return the threshold of held-out good images and what it does to the test images."""
    upsampling = test.upsamplings[config.centres]
    if not len(cells.validation.detection):
        return {"threshold": None, "why": "no held-out good images; give --validation 0.1"}
    held_out = detector.finish(cells.validation, upsampling, config.top_fraction).scores
    threshold = decision.threshold(held_out, config.false_alarms)
    found = detector.finish(cells.test, upsampling, config.top_fraction).scores > threshold.value
    return {
        "threshold": threshold.value,
        "promised": percent(threshold.rate),
        "images": len(held_out),
        "false_alarms": percent(_mean(found[~test.labels])),
        "detected": percent(_mean(found[test.labels])),
    }
