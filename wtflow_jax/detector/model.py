"""A fitted model as one directory: tensors in safetensors, everything else as JSON.

Nothing in it is executed when it is loaded, and it needs nothing else: the backbone's weights are
among its tensors.
"""

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from wtflow_jax import backbones
from wtflow_jax.backbones import Backbone
from wtflow_jax.backbones.weights import file_digest
from wtflow_jax.data.framing import Framing
from wtflow_jax.data.images import MULTIPLE, WINDOW
from wtflow_jax.detector import detector
from wtflow_jax.detector.config import OF_A_RUN, Config
from wtflow_jax.detector.detector import Detector
from wtflow_jax.flow import transport, whitening
from wtflow_jax.flow.scores import HIGHEST
from wtflow_jax.metrics.threshold import Threshold
from wtflow_jax.support import checksum, untrusted
from wtflow_jax.support.atomic import LOCK, put_back, replacing_directory
from wtflow_jax.support.errors import WTFlowError

FORMAT = 2
"""Raised whenever a model of before could not be read, or would give other scores."""
DESCRIPTION, TENSORS = "model.json", "model.safetensors"
STATS = {"batch_norm": transport.ChannelStats, "whiten": whitening.Whitening}


class Model(NamedTuple):
    """All that scores an image.

    Attributes:
        config: flags of fitting and scoring.
        framing: how images of any size are shown.
        backbone: a loaded one.
        detector: fitted on its features.
        threshold: above which an image is called defective.
        colours: scores of a pixel at the two ends of the colour scale of all pictures.
        training: what it was fitted on: number of images, their digests and fingerprint, held-out
            scores.
        versions: of the packages that fitted it.
    """

    config: Config
    framing: Framing
    backbone: Backbone
    detector: Detector
    threshold: Threshold
    colours: tuple[float, float]
    training: Mapping[str, Any]
    versions: Mapping[str, str]


def flatten(tree: Any) -> dict[str, np.ndarray]:
    """Return the arrays of nested dicts, lists and named tuples by their paths, ``a/0/b``."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in leaves
    }


def nested(arrays: Mapping[str, Any]) -> Any:
    """Return nested dicts and lists of arrays by their paths; named tuples become dicts."""
    if set(arrays) == {""}:
        return arrays[""]
    parts: dict[str, dict[str, Any]] = {}
    for path, array in arrays.items():
        first, _, rest = path.partition("/")
        parts.setdefault(first, {})[rest] = array
    built = {name: nested(below) for name, below in parts.items()}
    if built and all(name.isdecimal() for name in built):
        return [built[str(i)] for i in range(len(built))]
    return built


def save(model: Model, directory: Path) -> None:
    """Write a model; its directory appears whole or not at all.

    Args:
        model: a fitted one.
        directory: must not exist, or be an older model, which is replaced.

    Raises:
        WTFlowError: something else is there.
    """
    check_free(directory)
    description = {
        "format": FORMAT,
        "config": kept(model.config),
        "framing": model.framing._asdict(),
        "backbone": {
            "name": model.backbone.name,
            "layers": model.backbone.layers,
            "digest": model.backbone.digest,
        },
        "threshold": model.threshold._asdict(),
        "colours": model.colours,
        "training": dict(model.training),
        "versions": dict(model.versions),
    }
    arrays = flatten(
        {
            "backbone": model.backbone.params,
            "params": model.detector.params,
            "stats": model.detector.stats,
        }
    )
    # save_file would write what its owner alone can read.
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    tensors = safetensors.numpy.save(whole)
    description["tensors"] = hashlib.sha256(tensors).hexdigest()
    with replacing_directory(directory) as part:
        (part / TENSORS).write_bytes(tensors)
        (part / DESCRIPTION).write_text(json.dumps(checksum.sealed(description), indent=1))


def kept(config: Config) -> dict[str, Any]:
    """Return the flags that decide a model, and not where its images or results are."""
    names = (field.name for field in fields(Config) if field.name not in OF_A_RUN)
    return {name: getattr(config, name) for name in names}


def check_free(directory: Path) -> bool:
    """Return whether a model is there, which would be replaced.

    Raises:
        WTFlowError: something else is there.
        PermissionError: it cannot get its name.
    """
    # A model is a directory that gets its name when it is whole.
    whole = directory.resolve()
    if whole.parent.is_dir() and not os.access(whole.parent, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(whole.parent))
    if directory.is_dir():
        if whole.is_mount() or Path.cwd().is_relative_to(whole):
            what = "a mount point" if whole.is_mount() else "where this is run"
            raise WTFlowError(f"{directory}: is {what}; give a directory in it as --out")
        names = {path.name for path in directory.iterdir()}
        if names <= {DESCRIPTION, TENSORS, LOCK}:
            return DESCRIPTION in names
        raise WTFlowError(f"{directory}: holds other files; give another --out")
    if directory.exists():
        raise WTFlowError(f"{directory}: is a file; give a directory as --out")
    return False


def load(directory: Path) -> Model:
    """Read a model.

    Raises:
        WTFlowError: it is none, is damaged, or was written by another version of the format.
    """
    put_back(directory)
    description = _description(directory)
    path = directory / TENSORS
    arrays = _tensors(path)
    if file_digest(path) != description.get("tensors"):
        raise WTFlowError(f"{path}: is not what was written, damaged perhaps; fit the model again")
    try:
        _check(description)
        config = _config(description["config"])
        tree = nested(arrays)
        named = description["backbone"]
        backbone = backbones.assemble(
            named["name"],
            backbones.parse_layers(named["name"], named["layers"]),
            jax.tree.map(jnp.asarray, tree["backbone"]),
            named["digest"],
        )
        stats = tree.get("stats", ())
        if config.wt in STATS:
            stats = STATS[config.wt](**{name: jnp.asarray(array) for name, array in stats.items()})
        params = jax.tree.map(jnp.asarray, tree["params"])
        framing = description["framing"]
        return Model(
            config=config,
            framing=Framing(tuple(framing["size"]), framing["overlap"]),
            backbone=backbone,
            detector=detector.restored(config, params, stats),
            threshold=Threshold(**description["threshold"]),
            colours=tuple(description["colours"]),
            training=description["training"],
            versions=description["versions"],
        )
    except (
        *(WTFlowError, LookupError, TypeError, AttributeError, ValueError),
        *(OverflowError, RecursionError),
    ) as error:
        raise WTFlowError(
            f"{directory / DESCRIPTION}: does not fit its tensors ({error}); fit the model again"
        ) from error


def _description(directory: Path) -> dict[str, Any]:
    path = directory / DESCRIPTION
    if not path.is_file():
        raise WTFlowError(f"{directory}: is no model, {DESCRIPTION} is not there; see wtflow fit")
    try:
        description = untrusted.parse(path.read_bytes())
        found = description["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WTFlowError(f"{path}: cannot be read ({error}); fit the model again") from error
    if found != FORMAT:
        raise WTFlowError(f"{path}: has format {found}, this is {FORMAT}; fit the model again")
    if not checksum.is_whole(description):
        raise WTFlowError(f"{path}: is not what was written, damaged or edited; fit it again")
    return description


def _tensors(path: Path) -> dict[str, np.ndarray]:
    try:
        arrays, _ = untrusted.tensors(path)
    except ValueError as error:
        raise WTFlowError(f"{path}: cannot be read ({error}); fit the model again") from error
    for name, array in arrays.items():
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise WTFlowError(f"{path}: {name} is no finite numbers; fit the model again")
    return arrays


def _check(description: Mapping[str, Any]) -> None:
    """Raise ValueError where values are none that a fit gives; an edited file may hold any."""
    framing, training = description["framing"], description["training"]
    (height, width), overlap = framing["size"], framing["overlap"]
    for side in (height, width):
        if type(side) is not int or side <= 0 or side % MULTIPLE or height * width > WINDOW:
            raise ValueError(f"a window of {height!r}x{width!r}")
    if overlap is not None and not (type(overlap) is int and 0 <= overlap < min(height, width)):
        raise ValueError(f"an overlap of {overlap!r}")
    low, high = description["colours"]
    numbers = low, high, *(description["threshold"][name] for name in Threshold._fields)
    right = all(type(value) is float and abs(value) < HIGHEST for value in numbers)
    if not right or low >= high or not 0 <= numbers[-1] <= 1:
        raise ValueError(f"colours or threshold of {numbers}")
    kinds = {"images": int, "seen": list[str], "held_out": list[float], "held_out_of": list[int]}
    for name, kind in kinds.items():
        if not _fits(training[name], kind):
            raise ValueError(f"training with {name} of {training[name]!r}")


def _config(flags: Mapping[str, Any]) -> Config:
    """Return a config of its JSON, where tuples are lists."""
    if unknown := set(flags) & OF_A_RUN:
        raise KeyError(f"{min(unknown)} is no flag of a model")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in flags.items()}
    # Others may be added to the table of backbones.
    hints = get_type_hints(Config) | {"backbone": str}
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise ValueError(f"{name} of {value!r}")
    config = Config(**values)
    config.check()
    return config


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value that was read is of a type: one of a config's, or a list's."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in parts
    if origin in (tuple, list):
        return isinstance(value, origin) and all(_fits(part, parts[0]) for part in value)
    if parts:
        return any(_fits(value, part) for part in parts)
    return type(value) in ((int, float) if hint is float else (hint,))
