"""From a list of good images to a model with a threshold: what ``wtflow fit`` does."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from wtflow_jax.backbones import Backbone, features
from wtflow_jax.data import open_image, parse_size
from wtflow_jax.data.framing import Framing, framed, size_for
from wtflow_jax.data.sample import File
from wtflow_jax.detector import detector, inference, pipeline
from wtflow_jax.detector.config import BackboneName, Config, PresetName, VelocityName, defaults
from wtflow_jax.detector.model import Model
from wtflow_jax.flow import scores
from wtflow_jax.metrics import threshold as decision
from wtflow_jax.support import environment, memory
from wtflow_jax.support.errors import WTFlowError

FOLDS = 5
"""Parts that good images are split into; each is scored by a model of the others."""
SAMPLE = 32
"""Images whose aspects are looked at."""
SHARE = 0.25
"""Of the memory, for the features: fitting holds them in some copies."""
LEAST = 3
"""Good images: each is scored by a model of two others at least."""

Advance = Callable[[str, int, int], None]
"""Told of progress: ``advance(what is done, so much more of it, of how much in all)``."""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""


def settings(
    paths: Sequence[Path],
    *,
    preset: PresetName = "small",
    velocity: VelocityName = "exact",
    backbone: BackboneName = "efficientnet_lite0",
    image_size: str | None = None,
    overlap: int | None = None,
    false_alarms: float = 0.01,
    seed: int = 0,
) -> tuple[Config, Framing]:
    """Return what a model for these images is, of the few things that are asked.

    The WT map is ``whiten``. A side S in place of HxW gives windows of about S² pixels in the
    median aspect of the images, or S × S where they are cut.

    Args:
        paths: of the good images.
        preset: defaults of everything else.
        velocity: the exact field of the images, or a network.
        backbone: feature extractor.
        image_size: HxW or S, multiples of 32; None takes the preset's S.
        overlap: pixels by which windows overlap; None shows each image whole.
        false_alarms: wanted share of good images above the threshold, in (0, 1).
        seed: of the run.

    Raises:
        WTFlowError: a value that cannot be, or an image that cannot be opened.
    """
    config = defaults(Config(preset=preset, velocity=velocity, wt="whiten", backbone=backbone))
    config = replace(config, seed=seed, false_alarms=false_alarms)
    config = replace(config, image_size=image_size or config.image_size)
    config.check()
    size = parse_size(config.image_size)
    if overlap is None and "x" not in config.image_size.lower() and paths:
        # Of large folders some tell as much as all.
        some = paths[:: max(1, len(paths) // SAMPLE)][:SAMPLE]
        aspects = [image.height / image.width for image in map(open_image, some)]
        size = size_for(size[0] * size[1], float(np.median(aspects)))
    if overlap is not None and not 0 <= overlap < min(size):
        raise WTFlowError(f"--overlap {overlap}: give at least 0 and less than {min(size)}")
    return config, Framing(size, overlap)


class Windows(NamedTuple):
    """Features of all windows of some images.

    Attributes:
        maps: (k, h, w, c), before the WT map.
        owner: index of each window's image, ascending (k,).
        digests: of the images; copies have the same.
    """

    maps: Float[np.ndarray, "k h w c"]
    owner: Int[np.ndarray, " k"]
    digests: tuple[str, ...]


def take(
    paths: Sequence[File],
    backbone: Backbone,
    framing: Framing,
    dense: bool,
    advance: Advance = silent,
) -> Windows:
    """Return the features of all windows of some images.

    Args:
        paths: of images.
        backbone: a loaded one.
        framing: how images are shown.
        dense: whether the last pool moves by one cell instead of two.
        advance: told of progress.

    Raises:
        WTFlowError: an image cannot be decoded.
    """
    parts: list[np.ndarray] = []
    owner: list[int] = []
    digests: list[str] = []

    def windows() -> Iterator[tuple[File, np.ndarray]]:
        for i, (path, found) in enumerate(framed(paths, framing)):
            if isinstance(found, WTFlowError):
                raise found
            digests.append(found.digest())
            owner.extend([i] * len(found.windows))
            advance("features", 1, len(paths))
            yield from ((path, window) for window in found.windows)

    for batch in features.batched(backbone, windows(), dense):
        parts.append(batch)
        if len(parts) == 1:
            # As many windows an image as the first ones have.
            _check_memory(batch[0].nbytes * len(owner) / (owner[-1] + 1) * len(paths), len(paths))
    return Windows(np.concatenate(parts), np.array(owner), tuple(digests))


def _check_memory(needed: float, images: int) -> None:
    """Raise WTFlowError where features that need so many bytes would not fit."""
    if needed > SHARE * (limit := memory.limit()):
        raise WTFlowError(
            f"{images} images have about {needed / 2**30:.1f} GiB of features, which may take "
            f"{SHARE:.0%} of {limit / 2**30:.1f} GiB; give fewer images, or a smaller --overlap"
        )


def image_scores(
    found: inference.Prediction, owner: Int[np.ndarray, " k"]
) -> Float[np.ndarray, " n"]:
    """Return the score of each image: that of its highest window."""
    starts = np.flatnonzero(np.diff(owner, prepend=owner[0] - 1))
    return np.maximum.reduceat(found.scores, starts)


class HeldOut(NamedTuple):
    """Good images as models see them that were fitted without them.

    Attributes:
        scores: of the images, each once, however often it is there (n,).
        of: index of each (n,).
        low: the lowest score of a pixel.
    """

    scores: Float[np.ndarray, " n"]
    of: Int[np.ndarray, " n"]
    low: float


def cross_fit(
    windows: Windows,
    config: Config,
    where: scores.Upsampling,
    advance: Advance = silent,
) -> HeldOut:
    """Score each image by a model that was fitted on others, and on no copy of it.

    There are ``FOLDS`` parts, or as many as images; an image is in one of them with its copies.

    Args:
        windows: of all good images, ``LEAST`` different ones.
        config: of the model.
        where: cells sit in a window.
        advance: told of progress.

    Raises:
        WTFlowError: too few of the images are different ones.
    """
    numbers: dict[str, int] = {}
    number = np.array([numbers.setdefault(digest, len(numbers)) for digest in windows.digests])
    if len(numbers) < LEAST:
        raise WTFlowError(
            f"{len(number)} images are {len(numbers)} and copies of them; give at least {LEAST} "
            "different ones"
        )
    folds = min(FOLDS, len(numbers))
    part = (np.random.default_rng(config.seed).permutation(len(numbers)) % folds)[number]
    found, low = np.zeros(len(number), np.float32), math.inf
    for fold in range(folds):
        held = part[windows.owner] == fold
        fitted = detector.fit(config, jnp.asarray(windows.maps[~held]))
        predicted = inference.predict(fitted, windows.maps[held], config, where)
        found[part == fold] = image_scores(predicted, windows.owner[held])
        low = min(low, float(predicted.maps.min()))
        advance("held-out scores", 1, folds)
    _, of = np.unique(number, return_index=True)
    return HeldOut(found[of], of, low)


def fit(
    paths: Sequence[Path],
    backbone: Backbone,
    framing: Framing,
    config: Config,
    *,
    advance: Advance = silent,
) -> Model:
    """Fit a model on good images and set its threshold by scores of images left out.

    The threshold is that of ``decision.threshold`` on the scores of ``cross_fit``. These are
    scores of models that saw fewer images than the one that is returned, so what is told of the
    rate is no guarantee: of few images it was off both ways (docs/faq.md). The middle of the colour
    scale is the threshold.

    Args:
        paths: of good images.
        backbone: a loaded one.
        framing: how images are shown.
        config: of the model; ``false_alarms`` is the wanted share.
        advance: told of progress.

    Raises:
        WTFlowError: fewer images than ``LEAST``, or one that cannot be decoded.
    """
    if len(paths) < LEAST:
        raise WTFlowError(
            f"{len(paths)} good images: too few to score each by a model of others, and so to "
            f"set a threshold by; give at least {LEAST}, better 20 or more"
        )
    windows = take(paths, backbone, framing, config.dense, advance)
    where = pipeline.upsampling(backbone, config, framing.size)
    held_out = cross_fit(windows, config, where, advance=advance)
    threshold = decision.threshold(held_out.scores, config.false_alarms)
    fitted = detector.fit(config, jnp.asarray(windows.maps))
    advance("model", 1, 1)
    # Of images that are all alike: a scale of some width.
    high = held_out.low + 2 * max(threshold.value - held_out.low, 1e-6)
    training = {
        "images": len(paths),
        "fingerprint": hashlib.sha256("".join(sorted(windows.digests)).encode()).hexdigest(),
        "seen": sorted(windows.digests),
        "held_out": held_out.scores.tolist(),
        "held_out_of": held_out.of.tolist(),
    }
    return Model(
        config=config,
        framing=framing,
        backbone=backbone,
        detector=fitted,
        threshold=threshold,
        colours=(held_out.low, high),
        training=training,
        versions=environment.versions(),
    )
