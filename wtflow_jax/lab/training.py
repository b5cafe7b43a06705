"""Training what is not in the store yet: ``obtain``.

One that was interrupted goes on where it stopped; two runs that want the same model train it once.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.progress import Progress

from wtflow_jax.detector import detector, inference
from wtflow_jax.detector.config import Config
from wtflow_jax.flow.types import Stored
from wtflow_jax.geometry.radial import Radii
from wtflow_jax.lab import models, scored
from wtflow_jax.lab.models import Cells, FeatureMaps, Model, Splits
from wtflow_jax.support import checksum, signals, untrusted
from wtflow_jax.support.atomic import alone, replacing, sweep
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.training import schedule, sharding, train
from wtflow_jax.training.checkpoint import Checkpoints, History, Saved

FOLLOWED = 32
"""Test images whose radius is followed."""
SAVE_SECONDS = 60
"""Age of the last checkpoint at which an epoch that is not evaluated is saved too."""


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
    directory = config.models / f"{name}-{config.wt}-{config.velocity}-{models.key(config, splits)}"
    path = directory / "model.json"
    # Within the lock, so that all processes of a run see the same.
    with _alone(directory):
        if not path.exists():
            if sharding.first():
                sweep(directory)
            _train(config, name, splits, directory, progress)
        sharding.meet(f"{directory.name}: finished")
    try:
        kept = untrusted.parse(path.read_bytes())
        if not checksum.is_whole(kept):
            raise ValueError("not what was written")
        radii = None
        if found := kept.get("radii"):
            of, values = (np.array(found[name]) for name in ("of", "values"))
            radii = Radii(of, values, found["start"], found["root_d"])
        return Model(directory, kept["environment"], kept["history"], kept["norms"], radii)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WTFlowError(f"{path}: is no model, or damaged; delete its directory") from error


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Let one run at a time train a model; the others wait for it.

    Of several processes that train together the first holds the lock.
    """
    with alone(directory, wait=True) if sharding.first() else contextlib.nullcontext():
        sharding.meet(f"{directory.name}: locked")
        yield


def _evaluated(config: Config, epoch: int) -> bool:
    after = min(config.eval_from * config.epochs, config.epochs - models.LAST * config.eval_every)
    return epoch > after and (config.epochs - epoch) % config.eval_every == 0


def _train(config: Config, name: str, splits: Splits, directory: Path, progress: Progress) -> None:
    start = time.perf_counter()
    layout = detector.objective(config).layout
    x = splits.train if isinstance(splits.train, Stored) else layout.replicate(splits.train)
    fitted, state = detector.init(config, x)
    if state is None:
        seconds = time.perf_counter() - start
        history = [{"epoch": 0, "loss": None, "seconds_train": seconds}]
        history[0]["seconds_evaluate"] = _score(config, fitted, splits, directory, 0)
        _finish(config, fitted, splits, directory, history)
        return
    steps = -(-x.shape[0] // config.batch_size)
    # Processes that train together would have to agree on the step at which they stop.
    deferred = signals.deferred(jax.process_count() == 1)
    with Checkpoints(directory / "checkpoint") as checkpoints, deferred:
        saved = checkpoints.restore(state) or Saved(state, [], schedule.BEGINNING)
        fitted = fitted._replace(params=saved.state.params)
        done = steps * len(saved.history) + saved.past.steps
        task = progress.add_task(
            f"{name}, {config.wt}", total=steps * config.epochs, completed=done, note=""
        )
        began = time.perf_counter()

        def advance(taken: int, loss: float) -> None:
            progress.advance(task, taken)
            rate = (progress.tasks[task].completed - done) / steps / (time.perf_counter() - began)
            progress.update(task, note=f"loss {loss:.3f}, {rate:.2f} epochs/s")

        more = {"past": saved.past, "advance": advance, "stop": signals.asked}
        run = detector.epochs(config, fitted, saved.state, x, **more)
        try:
            fitted = _follow(config, run, fitted, splits, directory, saved.history, checkpoints)
        except schedule.Diverged as error:
            kept = f"; what was saved stays in {checkpoints.directory}"
            raise WTFlowError(
                f"{name}: {error}{kept if checkpoints.any() else ''}; give a lower "
                "--learning-rate, or another --wt or --seed"
            ) from error
    _finish(config, detector.local(config, fitted), splits, directory, saved.history)


def _follow(
    config: Config,
    run: Iterator[tuple[detector.Detector, train.Epoch]],
    fitted: detector.Detector,
    splits: Splits,
    directory: Path,
    history: History,
    checkpoints: Checkpoints,
) -> detector.Detector:
    """Score and save a run's epochs, add them to its history, and return the last detector.

    Raises:
        signals.Stopped: a signal has come; the step that the run was at is saved.
    """
    saved = time.monotonic()
    for fitted, epoch in run:
        past = epoch.past
        entry = {"epoch": epoch.number, "loss": epoch.loss, "seconds_train": epoch.seconds}
        evaluate = epoch.whole and _evaluated(config, epoch.number)
        # Scores that a signal interrupts are taken when the run goes on.
        with contextlib.suppress(signals.Stopped):
            if evaluate:
                whole = detector.local(config, fitted)
                with signals.deferred(False):
                    seconds = _score(config, whole, splits, directory, epoch.number)
                entry["seconds_evaluate"] = seconds
            if epoch.whole:
                history.append(entry)
                past = past.over()
        if signals.asked():
            if signals.late():
                signals.leave()
            signals.answer()
        due = evaluate or signals.asked() or time.monotonic() - saved > SAVE_SECONDS
        # While the loss is above its first value the checkpoint from before is kept.
        if (due and past.good) or len(history) == config.epochs:
            checkpoints.save(epoch.state, history, past)
            saved = time.monotonic()
        signals.leave()
    return fitted


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
            raise schedule.Diverged(f"scores are not finite after epoch {epoch}")
        arrays |= {f"{split}_{kind}": part for kind, part in cells._asdict().items()}
    with replacing(directory / "cells" / f"{epoch:04d}.npz") as part, part.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    return time.perf_counter() - start


def _finish(
    config: Config,
    fitted: detector.Detector,
    splits: Splits,
    directory: Path,
    history: History,
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
    some = scored.evenly(len(splits.test), FOLLOWED)
    radii = inference.radii(fitted, splits.test[some], some, config)
    kept = {
        "config": {field.name: getattr(config, field.name) for field in fields(Config)},
        "environment": models.environment(),
        "history": history,
        "norms": {split: norms(getattr(splits, split)) for split in ("train", *Cells._fields)},
        "radii": {k: np.asarray(v).tolist() for k, v in radii._asdict().items()},
    }
    # As it will be read: the checksum is of that.
    kept = json.loads(json.dumps(kept, default=str))
    models.write(directory / "model.json", json.dumps(checksum.sealed(kept), indent=1))
