"""What all experiments share: flags, the loop over categories, files and the closing table."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

import wtflow_jax
from wtflow_jax import backbones, datasets, detector, metrics, report, scores, transport
from wtflow_jax.backbones import features
from wtflow_jax.checkpoint import Checkpoints, History
from wtflow_jax.config import Config, defaults
from wtflow_jax.datasets import Category, Sample
from wtflow_jax.errors import WTFlowError

PaperFigures = Mapping[str, Mapping[str, tuple[float, float]]]
LAST = 10
"""Evaluated epochs whose mean is reported (Sec. V-A: the last ten, never the best)."""


def parse(arguments: Sequence[str], description: str) -> Config:
    """Read flags on top of the defaults of the preset they name."""

    def read(default: Config) -> Config:
        return tyro.cli(Config, args=list(arguments), default=default, description=description)

    first = read(Config())
    return read(defaults(first.preset, first.wt, first.smoke))


def main(arguments: Sequence[str], *, title: str, description: str, paper: PaperFigures) -> int:
    """Run an experiment from the command line and return its exit status."""
    try:
        config = parse(arguments, description)
        results = run(config)
    except WTFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    Console().print(table(title, config, results, paper))
    return 0


def environment(config: Config) -> dict[str, Any]:
    """Return what a result depends on beside its config."""
    packages = "jax jaxlib flax optax orbax-checkpoint diffrax numpy pillow".split()
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    device = jax.devices()[0]
    return {
        "versions": {"python": sys.version.split()[0], "wtflow-jax": wtflow_jax.__version__}
        | {name: version(name) for name in packages},
        "device": f"{device.platform}: {device.device_kind}, {len(os.sched_getaffinity(0))} cores",
        "git_commit": commit.stdout.strip() or None,
        "seed": config.seed,
    }


def _comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k not in ("resume", "cache", "out")}


def _open_out(config: Config) -> dict[str, Any]:
    """Return the results so far: those of the run to resume, or empty ones."""
    path = config.out / "results.json"
    as_json = json.loads(json.dumps(asdict(config), default=str))
    if config.out.exists() and not config.out.is_dir():
        raise WTFlowError(f"{config.out}: is a file; give a directory as --out")
    if not config.resume and config.out.exists() and any(config.out.iterdir()):
        raise WTFlowError(f"{config.out}: is not empty; give --resume, or another --out")
    if not path.exists():
        empty = {"image_auroc": None, "pixel_auroc": None}
        return {"config": as_json, "environment": None, "categories": {}, "mean": empty}
    try:
        results = json.loads(path.read_text())
        was, now = _comparable(results["config"]), _comparable(as_json)
    except (ValueError, KeyError, TypeError) as error:
        raise WTFlowError(f"{path}: is no results file; give another --out") from error
    changed = [k for k in now if was.get(k) != now[k]]
    if changed:
        k = changed[0]
        raise WTFlowError(
            f"{path}: was run with {k} = {was.get(k)}, not {now[k]}; "
            "give the same flags to --resume, or another --out"
        )
    return results


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(text)
    os.replace(part, path)


def _thin(samples: tuple[Sample, ...], count: int) -> tuple[Sample, ...]:
    return samples[:: max(1, len(samples) // count)][:count]


def _open_category(config: Config, root: Path, name: str) -> Category:
    category = datasets.open_category(root, name)
    if config.smoke:
        good = tuple(s for s in category.test if not s.label)
        bad = tuple(s for s in category.test if s.label)
        test = _thin(good, 6) + _thin(bad, 6)
        category = category._replace(train=_thin(category.train, 16), test=test)
    for label, word in ((0, "good"), (1, "defective")):
        if not any(s.label == label for s in category.test):
            raise WTFlowError(f"{root / name}: no {word} test image; AUROC needs both kinds")
    return category


def run(config: Config) -> dict[str, Any]:
    """Train and score every category, writing ``results.json`` after each.

    Returns:
        The contents of ``results.json``.

    Raises:
        WTFlowError: bad input, in one line.
    """
    size = datasets.parse_size(config.image_size)
    results = _open_out(config)
    root = datasets.generate(config.cache / "builtin") if config.root is None else config.root
    names = config.categories or datasets.categories(root)
    categories = [_open_category(config, root, name) for name in names]
    todo = [category for category in categories if category.name not in results["categories"]]
    if not todo:
        return results
    backbone = backbones.load(
        config.backbone, layer=config.layer, weights=config.weights, cache=config.cache
    )
    config.out.mkdir(parents=True, exist_ok=True)
    results["environment"] = environment(config)
    for category in todo:
        out = config.out / category.name
        results["categories"][category.name] = run_category(config, backbone, category, size, out)
        each = results["categories"].values()
        for metric in results["mean"]:
            results["mean"][metric] = float(np.mean([result[metric] for result in each]))
        _write(config.out / "results.json", json.dumps(results, indent=2))
    return results


def run_category(
    config: Config,
    backbone: backbones.Backbone,
    category: Category,
    size: tuple[int, int],
    out: Path,
) -> dict[str, Any]:
    """Compute features, train, evaluate and write the files of one category."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        start = time.perf_counter()
        samples = category.train + category.test
        task = progress.add_task(f"{category.name}: features", total=len(samples), note="images")
        train_features, test_features = (
            features.extract(
                backbone, part, size, config.cache, lambda n: progress.advance(task, n)
            )
            for part in (category.train, category.test)
        )
        masks = np.stack([datasets.read_mask(sample, size) for sample in category.test])
        feature_seconds = time.perf_counter() - start
        evaluator = Evaluator(config, features.grid(backbone), test_features, category.test, masks)
        history, prediction, norms = _train(
            config, category.name, train_features, evaluator, out / "checkpoint", progress
        )
    np.savez(
        out / "scores.npz",
        path=np.array([str(sample.path) for sample in category.test]),
        label=evaluator.labels,
        score=prediction.scores,
        map=prediction.maps,
    )
    report.save_maps(out / "maps.png", category.test, masks, prediction, size)
    evaluated = [entry for entry in history if "image_auroc" in entry]
    evaluated = evaluated[-min(LAST, config.epochs) :]
    summary: dict[str, Any] = {}
    for metric in ("image_auroc", "pixel_auroc"):
        values = [entry[metric] for entry in evaluated]
        summary |= {metric: float(np.mean(values)), f"{metric}_std": float(np.std(values))}
    for key in ("pixel_auroc_true", "pixel_auroc_half_pixel"):
        summary[key] = float(np.mean([entry[key] for entry in evaluated]))
    return summary | {
        "loss": float(np.mean([entry["loss"] for entry in history[-min(LAST, config.epochs) :]])),
        "x0_norm": norms,
        "seconds": {
            "features": feature_seconds,
            "train": sum(entry["seconds_train"] for entry in history),
            "evaluate": sum(entry.get("seconds_evaluate", 0.0) for entry in history),
        },
        "history": history,
    }


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
        cells = test_features.shape[1:3]
        self.upsamplings = {
            name: scores.upsampling(masks.shape[1:], cells, grid.stride, offset)
            for name, offset in (("true", grid.offset), ("half_pixel", None))
        }

    def predict(self, fitted: detector.Detector) -> tuple[detector.Prediction, dict[str, Any]]:
        """Return scores and maps with their AUROC in %, for both conventions of cell centres."""
        start = time.perf_counter()
        cells = detector.predict_cells(fitted, self.features, self.config)
        figures, predictions = {}, {}
        for name, upsampling in self.upsamplings.items():
            predictions[name] = detector.finish(cells, upsampling, self.config.top_fraction)
            auroc = 100 * metrics.auroc(predictions[name].maps, self.masks)
            figures[f"pixel_auroc_{name}"] = auroc
        prediction = predictions[self.config.centres]
        figures["pixel_auroc"] = figures[f"pixel_auroc_{self.config.centres}"]
        figures["image_auroc"] = 100 * metrics.auroc(prediction.scores, self.labels)
        return prediction, figures | {"seconds_evaluate": time.perf_counter() - start}


def _train(
    config: Config,
    name: str,
    train_features: np.ndarray,
    evaluator: Evaluator,
    directory: Path,
    progress: Progress,
) -> tuple[History, detector.Prediction, dict[str, float]]:
    x = jax.numpy.asarray(train_features)
    fitted, state = detector.init(config, x)
    steps = -(-len(x) // config.batch_size)
    history: History = []
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
        began = time.perf_counter()

        def advance(taken: int, loss: float) -> None:
            progress.advance(task, taken)
            rate = (progress.tasks[task].completed / steps - done) / (time.perf_counter() - began)
            progress.update(task, note=f"loss {loss:.3f}, {rate:.2f} epochs/s")

        for fitted, epoch in detector.epochs(
            config, fitted, state, x, first_epoch=done, advance=advance
        ):
            entry = {"epoch": epoch.number, "loss": epoch.loss, "seconds_train": epoch.seconds}
            history.append(entry)
            if (config.epochs - epoch.number) % config.eval_every == 0:
                prediction, figures = evaluator.predict(fitted)
                entry |= figures
                history[-1] = entry
                checkpoints.save(epoch.state, history)
        if prediction is None:
            prediction, _ = evaluator.predict(fitted)
    return history, prediction, _norms(fitted, train_features, evaluator)


def _norms(
    fitted: detector.Detector, train_features: np.ndarray, evaluator: Evaluator
) -> dict[str, float]:
    """Return the mean of ‖x0‖ by split, beside √D (Lemmas 5 and 6)."""

    def mean(part: np.ndarray) -> float:
        x0 = np.asarray(transport.MAPS[fitted.wt].apply(fitted.stats, jax.numpy.asarray(part)))
        return float(np.mean(np.linalg.norm(x0.reshape(len(x0), -1), axis=1)))

    test, labels = evaluator.features, evaluator.labels
    return {
        "sqrt_d": float(np.sqrt(np.prod(test.shape[1:]))),
        "train": mean(train_features),
        "test_good": mean(test[~labels]),
        "test_defective": mean(test[labels]),
    }


def table(title: str, config: Config, results: dict[str, Any], paper: PaperFigures) -> Table:
    """Return our figures beside the paper's, a row a category."""
    view = Table(title=f"{title}, {config.backbone}, WT map {config.wt}: AUROC in %")
    view.add_column("category")
    for name in ("image", "paper", "pixel", "paper", "loss", "seconds"):
        view.add_column(name, justify="right")
    figures = paper.get(config.wt, {})

    def paper_cell(name: str, column: int) -> str:
        return f"{figures[name][column]:.2f}" if name in figures else "–"

    for name, result in results["categories"].items():
        view.add_row(
            name,
            f"{result['image_auroc']:.2f} ± {result['image_auroc_std']:.2f}",
            paper_cell(name, 0),
            f"{result['pixel_auroc']:.2f} ± {result['pixel_auroc_std']:.2f}",
            paper_cell(name, 1),
            f"{result['loss']:.3f}",
            f"{sum(result['seconds'].values()):.0f}",
        )
    mean = results["mean"]
    view.add_section()
    view.add_row("mean", f"{mean['image_auroc']:.2f}", "", f"{mean['pixel_auroc']:.2f}")
    view.caption = (
        f"mean ± std over the last {min(LAST, config.epochs)} evaluated epochs; "
        f"written to {config.out / 'results.json'}"
    )
    return view
