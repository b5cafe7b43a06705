"""Trained models, kept on disk: one that two tables need is trained once.

A model's directory is named after everything that decides its numbers: the flags of training and
solving, the features of its images and the code. It holds the last checkpoints,
``cells/EPOCH.npz`` with the scores of the test and validation images a cell of the feature map
(every metric follows from them), and, once it is finished, ``model.json``. One that was interrupted
goes on where it stopped.
"""

import ast
import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from rich.progress import Progress

import wtflow_jax
from wtflow_jax import detector, inference, sharding
from wtflow_jax import environment as own
from wtflow_jax.atomic import replacing
from wtflow_jax.checkpoint import Checkpoints, History
from wtflow_jax.config import Config
from wtflow_jax.errors import WTFlowError
from wtflow_jax.geometry.radial import Radii
from wtflow_jax.types import Stored

FeatureMaps = Float[np.ndarray, "n h w c"]

LAST = 10
"""Evaluated epochs whose mean is reported (Sec. V-A: the last ten, never the best)."""
FOLLOWED = 32
"""Test images whose radius is followed."""
SAVE_SECONDS = 60
"""Age of the last checkpoint at which an epoch that is not evaluated is saved too."""

LAYOUT = frozenset({"mesh", "coordinator", "processes", "process", "resident"})
"""Flags that say where a run takes place: another goes on but for the order of sums."""
ELSEWHERE = frozenset(
    {
        *("root", "data", "categories", "out", "models", "cache", "preset", "resume", "smoke"),
        *("weights", "seeds", "top_fraction", "centres", "validation", "false_alarms"),
    }
    | LAYOUT
)
"""Flags that decide nothing about a model: the features themselves are looked at."""
CODE = (
    *("whitening", "transport", "targets", "paths", "loss", "ode", "scores"),
    *("unet", "patch", "exact", "geometry/empirical", "sharding", "train", "detector", "inference"),
)
"""Modules of the library that decide what a model's numbers are."""


class Splits(NamedTuple):
    """Features of one category.

    Attributes:
        train: of the images that are trained on; not in memory where they are too many.
        test: of the test images.
        validation: of further good images, maybe none.
    """

    train: FeatureMaps | Stored
    test: FeatureMaps
    validation: FeatureMaps

    def in_memory(self) -> FeatureMaps:
        """Return the training features as one array.

        Raises:
            WTFlowError: they are streamed.
        """
        if isinstance(self.train, Stored):
            raise WTFlowError(
                f"{self.train.shape[0]} training images: this experiment needs their features in "
                "memory; give a higher --resident or fewer images"
            )
        return self.train


class Cells(NamedTuple):
    """Scores a cell of the feature map, by split."""

    test: inference.CellPrediction
    validation: inference.CellPrediction


class Model(NamedTuple):
    """A finished model.

    Attributes:
        directory: where it is kept.
        environment: what its numbers depend on beside the config.
        history: an entry an epoch, with its loss and seconds.
        norms: ‖x0‖ of each image, by split (Lemmas 5 and 6).
        radii: of some test images on their way.
    """

    directory: Path
    environment: dict[str, Any]
    history: History
    norms: dict[str, list[float]]
    radii: Radii

    def epochs(self) -> list[int]:
        """Return the epochs that were evaluated, ascending; 0 alone where nothing is trained."""
        return sorted(int(path.stem) for path in (self.directory / "cells").glob("*.npz"))

    def cells(self, epoch: int) -> Cells:
        """Return the scores a cell after an epoch."""
        path = self.directory / "cells" / f"{epoch:04d}.npz"
        try:
            with np.load(path) as file:
                arrays = {name: file[name] for name in file.files}
            parts = [
                inference.CellPrediction(
                    arrays[f"{split}_detection"], arrays[f"{split}_localization"]
                )
                for split in Cells._fields
            ]
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise WTFlowError(
                f"{path}: is damaged; delete {self.directory} to train it again"
            ) from error
        return Cells(*parts)

    def restore(self, config: Config, splits: Splits) -> detector.Detector:
        """Return the detector after the last epoch."""
        features = splits.train
        if not isinstance(features, Stored):
            features = jnp.asarray(features)
        fitted, state = detector.init(config, features)
        if state is None:
            return fitted
        with Checkpoints(self.directory / "checkpoint") as checkpoints:
            found = checkpoints.restore(state)
        if found is None or len(found[1]) != len(self.history):
            raise WTFlowError(f"{self.directory}: lacks its last checkpoint; delete it")
        return fitted._replace(params=found[0].params)


def code() -> str:
    """Return a digest of what the modules of ``CODE`` do."""
    return digest_of(*(Path(wtflow_jax.__file__).parent / f"{name}.py" for name in CODE))


@lru_cache
def digest_of(*paths: Path) -> str:
    """Return a digest of Python files without their comments and docstrings."""
    digest = hashlib.sha256()
    for path in paths:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(body := getattr(node, "body", None), list):
                node.body = [part for part in body if not _is_text(part)]  # pyright: ignore
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def key(config: Config, splits: Splits) -> str:
    """Return what a model is kept under: twelve hexadecimal digits."""
    flags = {
        field.name: getattr(config, field.name)
        for field in fields(Config)
        if field.name not in ELSEWHERE
    }
    text = json.dumps([flags, [part.shape for part in splits], code()], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode())
    for part in splits:
        digest.update(_digest(part).encode())
    return digest.hexdigest()[:12]


def _commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    here = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def _digest(maps: FeatureMaps | Stored) -> str:
    """Return the same for features in memory and on disk."""
    if isinstance(maps, Stored):
        return maps.digest
    return hashlib.sha256(np.ascontiguousarray(maps, np.float32).data).hexdigest()


def environment() -> dict[str, Any]:
    """Return versions, device and commit."""
    return own.environment() | {"git_commit": _commit()}


def write(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all; only the first process does."""
    if sharding.first():
        with replacing(path) as part:
            part.write_text(text)


def obtain(config: Config, name: str, splits: Splits, progress: Progress) -> Model:
    """Return a model, trained and scored now unless it is there.

    Args:
        config: its flags.
        name: of the category.
        splits: its features.
        progress: where a bar is added.

    Raises:
        WTFlowError: training diverges, or what is kept cannot be read.
    """
    directory = config.models / f"{name}-{config.wt}-{config.velocity}-{key(config, splits)}"
    path = directory / "model.json"
    directory.mkdir(parents=True, exist_ok=True)
    # Within the lock, so that all processes of a run see the same.
    with _alone(directory):
        if not path.exists():
            _train(config, name, splits, directory, progress)
        sharding.meet(f"{directory.name}: finished")
    try:
        kept = json.loads(path.read_text())
        found = kept["radii"]
        of, values = (np.array(found[name]) for name in ("of", "values"))
        radii = Radii(of, values, found["start"], found["root_d"])
        return Model(directory, kept["environment"], kept["history"], kept["norms"], radii)
    except (ValueError, KeyError, TypeError) as error:
        raise WTFlowError(f"{path}: is no model; delete its directory") from error


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Let one run at a time train a model; the lock of one that is killed is taken off.

    Of several processes that train together the first holds it.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        if sharding.first():
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        sharding.meet(f"{directory.name}: locked")
        yield
    finally:
        os.close(descriptor)


def _evaluated(config: Config, epoch: int) -> bool:
    after = min(config.eval_from * config.epochs, config.epochs - LAST * config.eval_every)
    return epoch > after and (config.epochs - epoch) % config.eval_every == 0


def _train(config: Config, name: str, splits: Splits, directory: Path, progress: Progress) -> None:
    start = time.perf_counter()
    layout = detector.objective(config).layout
    x = splits.train if isinstance(splits.train, Stored) else layout.replicate(splits.train)
    fitted, state = detector.init(config, x)
    history: History = []
    if state is None:
        seconds = time.perf_counter() - start
        history = [{"epoch": 0, "loss": None, "seconds_train": seconds}]
        history[0]["seconds_evaluate"] = _score(config, fitted, splits, directory, 0)
        _finish(config, fitted, splits, directory, history)
        return
    steps = -(-x.shape[0] // config.batch_size)
    with Checkpoints(directory / "checkpoint") as checkpoints:
        if found := checkpoints.restore(state):
            state, history = found
            fitted = fitted._replace(params=state.params)
        done = len(history)
        task = progress.add_task(
            f"{name}, {config.wt}: training",
            total=steps * config.epochs,
            completed=steps * done,
            note="",
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
                whole = detector.local(config, fitted)
                seconds = _score(config, whole, splits, directory, epoch.number)
                entry["seconds_evaluate"] = seconds
            history.append(entry)
            if evaluate or time.monotonic() - saved > SAVE_SECONDS:
                checkpoints.save(epoch.state, history)
                saved = time.monotonic()
    _finish(config, detector.local(config, fitted), splits, directory, history)


def _score(
    config: Config, fitted: detector.Detector, splits: Splits, directory: Path, epoch: int
) -> float:
    """Write the scores a cell, in the first process; the seconds it took."""
    if not sharding.first():
        return 0.0
    start = time.perf_counter()
    arrays: dict[str, np.ndarray] = {}
    for split in Cells._fields:
        maps = getattr(splits, split)
        none = np.zeros((0, *maps.shape[1:3]), np.float32)
        cells = inference.CellPrediction(none, none)
        if len(maps):
            cells = inference.predict_cells(fitted, maps, config)
        if not all(np.isfinite(part).all() for part in cells):
            raise WTFlowError(
                f"{directory.name}: training diverged, scores are NaN; give a lower --learning-rate"
            )
        arrays |= {f"{split}_{kind}": part for kind, part in cells._asdict().items()}
    with replacing(directory / "cells" / f"{epoch:04d}.npz") as part, part.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    return time.perf_counter() - start


def _finish(
    config: Config, fitted: detector.Detector, splits: Splits, directory: Path, history: History
) -> None:
    if not sharding.first():
        return

    def norms(maps: FeatureMaps | Stored) -> list[float]:
        found: list[float] = []
        for first in range(0, maps.shape[0], detector.BATCH):
            index = np.arange(first, min(first + detector.BATCH, maps.shape[0]))
            batch = maps.read(index) if isinstance(maps, Stored) else maps[index]
            x0 = np.asarray(detector.apply_wt(fitted, jnp.asarray(batch)))
            found += np.linalg.norm(x0.reshape(len(x0), -1), axis=1).tolist()
        return found

    # Test images are sorted by kind: evenly spaced ones are of all kinds.
    some = np.unique(np.linspace(0, len(splits.test) - 1, FOLLOWED).round().astype(int))
    radii = inference.radii(fitted, splits.test[some], some, config)
    kept = {
        "config": {field.name: getattr(config, field.name) for field in fields(Config)},
        "environment": environment(),
        "history": history,
        "norms": {split: norms(getattr(splits, split)) for split in ("train", *Cells._fields)},
        "radii": {k: np.asarray(v).tolist() for k, v in radii._asdict().items()},
    }
    write(directory / "model.json", json.dumps(kept, indent=1, default=str))
