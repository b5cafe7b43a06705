"""Trained models, kept on disk: one that two tables need is trained once.

A model's directory is named after everything that decides its numbers: the flags of training and
solving, the features of its images and the code. It holds the last checkpoints,
``cells/EPOCH.npz`` with the scores of the test and validation images a cell of the feature map
(every metric follows from them), and, once it is finished, ``model.json``. ``training`` fills it.
"""

import ast
import hashlib
import json
import subprocess
import zlib
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

import wtflow_jax
from wtflow_jax.detector import detector, inference
from wtflow_jax.detector.config import OF_A_RUN, Config
from wtflow_jax.flow.types import Stored
from wtflow_jax.geometry.radial import Radii
from wtflow_jax.support import environment as own
from wtflow_jax.support.atomic import replacing
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.training import sharding
from wtflow_jax.training.checkpoint import Checkpoints, History

FeatureMaps = Float[np.ndarray, "n h w c"]

LAST = 10
"""Evaluated epochs whose mean is reported (Sec. V-A: the last ten, never the best)."""

ELSEWHERE = OF_A_RUN | {"preset", "top_fraction", "centres", "false_alarms"}
"""Flags that decide nothing about a model: the features themselves are looked at."""
CODE = (
    *("whitening", "transport", "targets", "paths", "loss", "ode", "scores"),
    *("unet", "patch", "exact", "geometry/empirical", "sharding", "schedule", "train"),
    *("detector", "inference"),
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
        radii: of some test images on their way; None where nobody looked.
    """

    directory: Path
    environment: dict[str, Any]
    history: History
    norms: dict[str, list[float]]
    radii: Radii | None = None

    def epochs(self) -> list[int]:
        """Return the epochs that were evaluated, ascending; 0 alone where nothing is trained."""
        return [entry["epoch"] for entry in self.history if "seconds_evaluate" in entry]

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
        except (
            *(OSError, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError),
            *(BadZipFile, zlib.error),
        ) as error:
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
        if found is None or len(found.history) != len(self.history):
            raise WTFlowError(f"{self.directory}: lacks its last checkpoint; delete it")
        return fitted._replace(params=found.state.params)


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
