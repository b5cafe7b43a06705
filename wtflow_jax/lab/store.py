"""Trained models, stored on disk: a model that two tables need is trained once.

A model's directory is named by a digest of everything that decides its numbers: the flags of
training and solving, the features of its images and the code. During training it holds the last
checkpoints, and ``cells/EPOCH.npz`` with the scores of evaluated epochs. When the model is finished
it holds only ``trained.safetensors``. Interrupted training resumes where it stopped.
"""

import ast
import contextlib
import hashlib
import inspect
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import wtflow_jax
from wtflow_jax.detector import detector, model, route
from wtflow_jax.detector.algorithm import Start, to_x0
from wtflow_jax.detector.config import Config
from wtflow_jax.detector.detector import Detector
from wtflow_jax.detector.route import Cells
from wtflow_jax.flow.maps import Stats
from wtflow_jax.flow.types import Features, Params, Stored
from wtflow_jax.geometry import Radii, radial_profile
from wtflow_jax.lab.scored import evenly
from wtflow_jax.support import environment as machine
from wtflow_jax.support import signals, tensors
from wtflow_jax.support.console import Track
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.files import alone, replacing
from wtflow_jax.support.parts import named_files
from wtflow_jax.training import sharding
from wtflow_jax.training.checkpoint import Checkpoints, History, Saved
from wtflow_jax.training.schedule import BEGINNING, Diverged
from wtflow_jax.training.sharding import Layout

FeatureMaps = Float[np.ndarray, "n h w c"]

LAST = 10
"""Evaluated epochs whose mean is reported (Sec. V-A: the last ten, never the best)."""
MEASURED = 64
"""Training images whose ‖x0‖ is measured, at most; and images measured at a time."""
FOLLOWED = 32
"""Number of test images whose radius is measured along the flow."""
RADII_STEPS = 20
SAVE_SECONDS = 60
"""If the last checkpoint is older, epochs without an evaluation are saved too."""
FILE = "trained.safetensors"
FIELDS = "geometry/empirical.py", "geometry/gaussian.py", "geometry/mixture.py"
DECIDES = ("flow", "velocities", *FIELDS, "training", "detector")
"""Code of the library that decides a model's numbers."""
MEASURES = ("backbones", "data", "metrics", "lab/category.py", "lab/job.py", "lab/measuring.py")
"""Further code that decides a row."""


class Splits(NamedTuple):
    """Features of one category: training, test and held-out good images (may be empty)."""

    train: FeatureMaps | Stored
    test: FeatureMaps
    validation: FeatureMaps


class Trained(NamedTuple):
    """A finished model; the only epoch is 0 if nothing is trained."""

    directory: Path  #: where it is stored
    detector: Detector  #: after the last epoch
    cells: dict[int, dict[str, Cells]]  #: cell scores after each evaluated epoch, by split
    history: History  #: one entry per epoch, with its loss and seconds
    norms: dict[str, list[float]]  #: ‖x0‖ of images, by split (Lemmas 5 and 6)
    radii: Radii  #: of some test images along the flow
    environment: dict[str, Any]  #: versions, device and commit


Kept: TypeAlias = dict[int, dict[str, np.ndarray]]
"""Cell scores by epoch, then by split and kind."""


def obtain(
    config: Config, name: str, splits: Splits, models: Path, layout: Layout, track: Track
) -> Trained:
    """Return a category's model from ``models``; train and score it first if it is not there."""
    flow = config.flow
    directory = models / f"{name}-{flow.wt}-{flow.velocity}-{key(config, splits)}"
    # One run at a time trains it; if several processes train together, the first has the lock.
    with alone(directory, wait=True) if sharding.first() else contextlib.nullcontext():
        # Within the lock, so that all processes of a run see the same files.
        sharding.meet(f"{directory.name}: locked")
        found = None
        if not (directory / FILE).exists():
            found = _train(config, name, splits, directory, layout, track)
        sharding.meet(f"{directory.name}: finished")
    return found or _load(directory, config)


def _train(
    config: Config, name: str, splits: Splits, directory: Path, layout: Layout, track: Track
) -> Trained | None:
    """Train, score and store a model; return it in the first process, None in the others."""
    began, kept = time.perf_counter(), Kept()
    features = splits.train
    if not isinstance(features, Stored):
        features = layout.replicate(features)
    fitted, state = detector.init(config, features, layout)
    if state is None:
        entry = {"epoch": 0, "loss": None, "seconds_train": time.perf_counter() - began}
        entry |= _evaluate(fitted, splits, directory, 0, kept)
        return _finish(fitted, splits, directory, [entry], kept)

    def local(params: Params) -> Detector:
        """Return the whole detector on one device of this process; every process must call it."""
        return Detector(config, layout.local(params), layout.local(fitted.stats))

    asked = config.training
    epochs, steps = asked.epochs, -(-features.shape[0] // asked.batch_size)
    from_epoch = min(asked.eval_from * epochs, epochs - LAST * asked.eval_every)
    saved_at = time.monotonic()
    with (
        Checkpoints(directory / "checkpoint") as checkpoints,
        # Several processes would have to agree on the step at which they stop.
        signals.deferred(jax.process_count() == 1),
    ):
        state, history, past = checkpoints.restore(state) or Saved(state, [], BEGINNING)
        advance, began = track(f"{name}, {config.flow.wt}", steps * epochs), time.perf_counter()
        first = done = steps * len(history) + past.steps
        advance(done)
        try:
            run = detector.training(fitted, state, features, layout, past)
            for state, past, whole in run:
                taken, done = done, steps * len(past.losses) + past.steps
                rate = (done - first) / steps / (time.perf_counter() - began)
                advance(done - taken, f"loss {past.loss:.3f}, {rate:.2f} epochs/s")
                due, epoch = whole and time.monotonic() - saved_at > SAVE_SECONDS, past.epoch
                if whole:
                    entry = {"epoch": epoch, "loss": past.loss, "seconds_train": past.seconds}
                    if epoch > from_epoch and (epochs - epoch) % asked.eval_every == 0:
                        entry |= _evaluate(local(state.params), splits, directory, epoch, kept)
                        due = True
                    history.append(entry)
                    past = past.over()
                # While the loss is above its first value, the previous checkpoint stays.
                if ((due or signals.asked()) and past.good) or len(history) == epochs:
                    checkpoints.save(state, history, past)
                    saved_at = time.monotonic()
                signals.leave()
        except Diverged as error:
            kept = f"; checkpoints stay in {checkpoints.directory}" * checkpoints.any()
            advice = "give a lower --learning-rate, or another --wt or --seed"
            raise WTFlowError(f"{name}: {error}{kept}; {advice}") from error
    return _finish(local(state.params), splits, directory, history, kept)


def _evaluate(
    fitted: Detector, splits: Splits, directory: Path, epoch: int, kept: Kept
) -> dict[str, float]:
    """Score the cells of all splits, store the scores, and return the seconds taken."""
    began = time.perf_counter()
    if sharding.first():
        arrays: dict[str, np.ndarray] = {}
        for split, maps in (("test", splits.test), ("validation", splits.validation)):
            none = np.zeros((0, *maps.shape[1:3]), np.float32)
            found = route.cells(fitted, maps) if len(maps) else Cells(none, none)
            if not all(np.isfinite(part).all() for part in found):
                raise Diverged(f"scores are not finite after epoch {epoch}")
            arrays |= {f"{split}/{kind}": part for kind, part in found._asdict().items()}
        kept[epoch] = arrays
        # For a resumed run.
        with replacing(directory / "cells" / f"{epoch:04d}.npz") as part, part.open("wb") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    return {"seconds_evaluate": time.perf_counter() - began}


def _finish(
    fitted: Detector, splits: Splits, directory: Path, history: History, kept: Kept
) -> Trained | None:
    """Write a model, its scores and its history to one file; remove checkpoints and cells."""
    if not sharding.first():
        return None
    arrays = model.flatten({"params": fitted.params, "stats": fitted.stats})
    for epoch in (entry["epoch"] for entry in history if "seconds_evaluate" in entry):
        if epoch not in kept:
            with np.load(directory / "cells" / f"{epoch:04d}.npz") as file:
                kept[epoch] = dict(file)
        arrays |= {f"cells/epoch{epoch}/{name}": part for name, part in kept[epoch].items()}
    # Test images are sorted by kind: evenly spaced images cover all kinds.
    some = evenly(len(splits.test), FOLLOWED)
    found = radii(fitted, splits.test[some], some)
    arrays |= {"radii/of": found.of, "radii/values": found.values}
    about = {
        "config": fitted.config.flags(),
        "environment": environment(),
        "history": history,
        "norms": {
            "train": _norms(fitted, splits.train, evenly(splits.train.shape[0], MEASURED)),
            "test": _norms(fitted, splits.test),
            "validation": _norms(fitted, splits.validation),
        },
        "t_start": found.t_start,
        "root_d": found.root_d,
    }
    tensors.save(directory / FILE, arrays, about)
    for left in ("checkpoint", "cells"):
        shutil.rmtree(directory / left, ignore_errors=True)
    return _trained(directory, fitted.config, arrays, about)


def _load(directory: Path, config: Config) -> Trained:
    path = directory / FILE
    try:
        return _trained(directory, config, *tensors.load(path))
    except (ValueError, LookupError, TypeError) as error:
        raise WTFlowError(f"{path}: is damaged ({error}); delete {directory}") from error


def _trained(
    directory: Path, config: Config, arrays: Mapping[str, Any], about: Mapping[str, Any]
) -> Trained:
    tree = model.nested(arrays)
    cells = {
        int(name.removeprefix("epoch")): {part: Cells(**kinds) for part, kinds in of.items()}
        for name, of in tree["cells"].items()
    }
    params, stats = (jax.tree.map(jnp.asarray, tree.get(k, {})) for k in ("params", "stats"))
    return Trained(
        directory,
        Detector(config, params, config.wt.restore(stats)),
        # Sorted by name, epoch10 came before epoch9; the last epoch is the one shown.
        dict(sorted(cells.items())),
        about["history"],
        about["norms"],
        Radii(**tree["radii"], t_start=about["t_start"], root_d=about["root_d"]),
        about["environment"],
    )


def radii(fitted: Detector, maps: FeatureMaps, of: np.ndarray) -> Radii:
    """Return ‖x_t‖ of images from T to t = 1 in Euler steps (suppl. Tables XII to XIV).

    ``of`` are the images' indices in the test set.
    """
    x0, t_start = fitted.x0(jnp.asarray(maps)), fitted.config.inference.start
    velocity_fn = fitted.config.velocity.velocity_fn()
    values = radial_profile(velocity_fn, fitted.params, x0, steps=RADII_STEPS, t_start=t_start)
    return Radii(of, np.asarray(values), t_start, float(np.sqrt(x0[0].size)))


@partial(jax.jit, static_argnames="start")
def _lengths(start: Start, stats: Stats, maps: Features) -> Float[Array, " n"]:
    x0 = to_x0(start, stats, maps)
    return jnp.sqrt(jnp.sum(jnp.square(x0), axis=tuple(range(1, x0.ndim))))


def chunks(fitted: Detector, maps: FeatureMaps | Stored) -> Iterator[FeatureMaps]:
    """Yield x0 of feature maps, in memory or on disk, in chunks."""
    for part in _read(maps):
        yield np.asarray(fitted.x0(jnp.asarray(part)))


def _read(
    maps: FeatureMaps | Stored, of: np.ndarray | None = None, chunk: int = detector.CHUNK
) -> Iterator[FeatureMaps]:
    of = np.arange(maps.shape[0]) if of is None else of
    for first in range(0, len(of), chunk):
        index = of[first : first + chunk]
        yield maps.read(index) if isinstance(maps, Stored) else maps[index]


def _norms(
    fitted: Detector, maps: FeatureMaps | Stored, of: np.ndarray | None = None
) -> list[float]:
    start = detector.start(fitted.config)
    parts = (_lengths(start, fitted.stats, jnp.asarray(part)) for part in _read(maps, of, MEASURED))
    return [norm for part in parts for norm in part.tolist()]


def key(config: Config, splits: Splits) -> str:
    """Return the key of a model: twelve hexadecimal digits."""
    other = {"preset", *vars(config.features), *vars(config.decision)}
    flags = {name: value for name, value in config.flags().items() if name not in other}
    decides = digest_of(*DECIDES, *map(os.path.abspath, named_files()))
    what = [flags, [part.shape for part in splits], decides]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode())
    for part in splits:
        # The digest is the same for features in memory and on disk.
        if isinstance(part, Stored):
            own = part.digest
        else:
            own = hashlib.sha256(np.ascontiguousarray(part, np.float32).data).hexdigest()
        digest.update(own.encode())
    return digest.hexdigest()[:12]


def code(measure: Callable[..., Any]) -> str:
    """Return a digest of the code that decides a row, including the file of ``measure``."""
    own = inspect.getfile(inspect.unwrap(measure))
    return digest_of(*DECIDES, *MEASURES, *map(os.path.abspath, named_files()), own)[:12]


@lru_cache
def digest_of(*parts: str) -> str:
    """Return a digest of folders and files of the package, without comments and docstrings."""
    digest = hashlib.sha256()
    for part in (Path(wtflow_jax.__file__).parent / name for name in parts):
        for path in sorted(part.rglob("*.py")) if part.is_dir() else [part]:
            tree = ast.parse(path.read_text())
            for node in ast.walk(tree):
                if isinstance(body := getattr(node, "body", None), list):
                    node.body = [one for one in body if not _is_text(one)]  # pyright: ignore
            digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def environment() -> dict[str, Any]:
    """Return versions, device and commit."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    commit = ""
    with contextlib.suppress(OSError):
        here = Path(__file__).parent
        commit = subprocess.run(command, cwd=here, capture_output=True, text=True).stdout.strip()
    return machine.environment() | {"git_commit": commit or None}
