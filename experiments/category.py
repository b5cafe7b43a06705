"""One category of an experiment: features, training, evaluation and its files."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from wtflow_jax import backbones, datasets, detector, metrics, report, scores
from wtflow_jax.backbones import features
from wtflow_jax.checkpoint import Checkpoints, History
from wtflow_jax.config import Config
from wtflow_jax.datasets import Category, Sample
from wtflow_jax.errors import WTFlowError

FeatureMaps = Float[np.ndarray, "n h w c"]

LAST = 10
"""Evaluated epochs whose mean is reported (Sec. V-A: the last ten, never the best)."""
SAVE_SECONDS = 60
"""Age of the last checkpoint at which an epoch that is not evaluated is saved too."""


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


class Job(NamedTuple):
    """One category of an experiment.

    Attributes:
        config: the run's.
        backbone: a loaded one.
        category: its images.
        size: (H, W) they are resized to.
        out: directory of the category's files.
    """

    config: Config
    backbone: backbones.Backbone
    category: Category
    size: tuple[int, int]
    out: Path


def extract(job: Job, progress: Progress) -> tuple[FeatureMaps, FeatureMaps]:
    """Return the features of the training and of the test images, (n, h, w, c) each."""
    config, category = job.config, job.category
    total = len(category.train) + len(category.test)
    task = progress.add_task(f"{category.name}: features", total=total, note="images")

    def part(samples: Sequence[Sample]) -> FeatureMaps:
        advance = partial(progress.advance, task)
        return features.extract(
            job.backbone, samples, job.size, config.cache, advance, dense=config.dense
        )

    return part(category.train), part(category.test)


def run(job: Job) -> dict[str, Any]:
    """Compute features, train, evaluate and write the job's files.

    Returns:
        Its entry in ``results.json``.

    Raises:
        WTFlowError: an image, a mask, the cache or a checkpoint cannot be used, or training
            diverges.
    """
    config, category, size, out = job.config, job.category, job.size, job.out
    with bars() as progress:
        start = time.perf_counter()
        # Masks first: they are quick, and a bad one is told of before minutes of work.
        masks = np.stack([datasets.read_mask(sample, size) for sample in category.test])
        if not masks.any():
            first = next(sample.masks[0] for sample in category.test if sample.label)
            raise WTFlowError(f"{first}: neither it nor another mask marks a pixel; check them")
        train_features, test_features = extract(job, progress)
        seconds = time.perf_counter() - start
        evaluator = Evaluator(
            config, features.grid(job.backbone, config.dense), test_features, category.test, masks
        )
        history, fitted, prediction = _train(
            config, category.name, train_features, evaluator, out / "checkpoint", progress
        )
    out.mkdir(parents=True, exist_ok=True)
    np.savez(
        out / "scores.npz",
        path=np.array([str(sample.path) for sample in category.test]),
        label=evaluator.labels,
        score=prediction.scores,
        map=prediction.maps,
    )
    report.save_maps(out / "maps.png", category.test, masks, prediction, size)
    return _summary(config, history) | {
        "x0_norm": _norms(fitted, train_features, evaluator),
        "seconds": {
            "features": seconds,
            "train": sum(entry["seconds_train"] for entry in history),
            "evaluate": sum(entry.get("seconds_evaluate", 0.0) for entry in history),
        },
        "history": history,
    }


def fit(
    config: Config, name: str, train_features: FeatureMaps, progress: Progress
) -> tuple[detector.Detector, float | None]:
    """Train without evaluating; the detector and its last loss, None for the exact field."""
    x = jnp.asarray(train_features)
    fitted, state = detector.init(config, x)
    if state is None:
        return fitted, None
    steps = -(-len(x) // config.batch_size) * config.epochs
    task = progress.add_task(f"{name}, {config.wt}: training", total=steps, note="")

    def advance(taken: int, loss: float) -> None:
        progress.update(task, advance=taken, note=f"loss {loss:.3f}")

    *_, (fitted, epoch) = detector.epochs(config, fitted, state, x, advance=advance)
    return fitted, epoch.loss


class Evaluator:
    """The test split of a category, and AUROC on it."""

    def __init__(
        self,
        config: Config,
        grid: backbones.Grid,
        test_features: np.ndarray,
        samples: Sequence[Sample],
        masks: np.ndarray,
    ) -> None:
        """Keep the split; ``grid`` says where cells sit in the image."""
        self.config, self.features, self.masks = config, test_features, masks
        self.labels = np.array([sample.label for sample in samples], bool)
        height, width = masks.shape[1:]
        h, w = test_features.shape[1:3]
        self.upsamplings = {
            name: scores.upsampling((height, width), (h, w), grid.stride, offset)
            for name, offset in (("true", grid.offset), ("half_pixel", None))
        }

    def predict(self, fitted: detector.Detector) -> tuple[detector.Prediction, dict[str, Any]]:
        """Return scores and maps with their AUROC in %, for both conventions of cell centres."""
        start = time.perf_counter()
        cells = detector.predict_cells(fitted, self.features, self.config)
        chosen = self.config.centres
        prediction = detector.finish(cells, self.upsamplings[chosen], self.config.top_fraction)
        if not (np.isfinite(prediction.scores).all() and np.isfinite(prediction.maps).all()):
            raise WTFlowError(
                f"{self.config.out}: training diverged, scores are NaN; "
                "give a lower --learning-rate"
            )
        figures = {"image_auroc": 100 * metrics.auroc(prediction.scores, self.labels)}
        for name, upsampling in self.upsamplings.items():
            if name == chosen:
                maps = prediction.maps
            else:
                maps = detector.upsample(cells.localization, upsampling)
            figures[f"pixel_auroc_{name}"] = 100 * metrics.auroc(maps, self.masks)
        figures["pixel_auroc"] = figures[f"pixel_auroc_{chosen}"]
        return prediction, figures | {"seconds_evaluate": time.perf_counter() - start}


def _evaluated(config: Config, epoch: int) -> bool:
    after = min(config.eval_from * config.epochs, config.epochs - LAST * config.eval_every)
    return epoch > after and (config.epochs - epoch) % config.eval_every == 0


def _train(
    config: Config,
    name: str,
    train_features: np.ndarray,
    evaluator: Evaluator,
    directory: Path,
    progress: Progress,
) -> tuple[History, detector.Detector, detector.Prediction]:
    start = time.perf_counter()
    x = jnp.asarray(train_features)
    fitted, state = detector.init(config, x)
    steps = -(-len(x) // config.batch_size)
    history: History = []
    if state is None:
        seconds = time.perf_counter() - start
        prediction, figures = evaluator.predict(fitted)
        return [{"epoch": 0, "loss": None, "seconds_train": seconds} | figures], fitted, prediction
    prediction = None
    with Checkpoints(directory) as checkpoints:
        found = checkpoints.restore(state) if config.resume else None
        if found is not None:
            state, history = found
            fitted = fitted._replace(params=state.params)
        done = len(history)
        task = progress.add_task(
            f"{name}: training", total=steps * config.epochs, completed=steps * done, note=""
        )
        began, saved = time.perf_counter(), time.monotonic()

        def advance(taken: int, loss: float) -> None:
            progress.advance(task, taken)
            rate = (progress.tasks[task].completed / steps - done) / (time.perf_counter() - began)
            progress.update(task, note=f"loss {loss:.3f}, {rate:.2f} epochs/s")

        run = detector.epochs(config, fitted, state, x, first_epoch=done, advance=advance)
        for fitted, epoch in run:
            if not np.isfinite(epoch.loss):
                raise WTFlowError(
                    f"{name}: the loss is {epoch.loss} in epoch {epoch.number}; "
                    "give a lower --learning-rate"
                )
            entry = {"epoch": epoch.number, "loss": epoch.loss, "seconds_train": epoch.seconds}
            if evaluate := _evaluated(config, epoch.number):
                prediction, figures = evaluator.predict(fitted)
                entry |= figures
            history.append(entry)
            if evaluate or time.monotonic() - saved > SAVE_SECONDS:
                checkpoints.save(epoch.state, history)
                saved = time.monotonic()
        if prediction is None:
            prediction, _ = evaluator.predict(fitted)
    return history, fitted, prediction


def _summary(config: Config, history: History) -> dict[str, Any]:
    """Return the means over the last evaluated epochs (Sec. V-A), and of the loss."""
    count = min(LAST, config.epochs)
    evaluated = [entry for entry in history if "image_auroc" in entry][-count:]
    summary: dict[str, Any] = {}
    for metric in ("image_auroc", "pixel_auroc", "pixel_auroc_true", "pixel_auroc_half_pixel"):
        values = [entry[metric] for entry in evaluated]
        summary |= {metric: float(np.mean(values)), f"{metric}_std": float(np.std(values))}
    losses = [entry["loss"] for entry in history[-count:]]
    return summary | {"loss": None if None in losses else float(np.mean(losses))}


def _norms(
    fitted: detector.Detector, train_features: np.ndarray, evaluator: Evaluator
) -> dict[str, float]:
    """Return the mean of ‖x0‖ by split, beside √D (Lemmas 5 and 6)."""

    def mean(part: np.ndarray) -> float:
        x0 = np.asarray(detector.apply_wt(fitted, jnp.asarray(part)))
        return float(np.mean(np.linalg.norm(x0.reshape(len(x0), -1), axis=1)))

    test, labels = evaluator.features, evaluator.labels
    return {
        "sqrt_d": float(np.sqrt(np.prod(test.shape[1:]))),
        "train": mean(train_features),
        "test_good": mean(test[~labels]),
        "test_defective": mean(test[labels]),
    }
