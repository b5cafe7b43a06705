"""From good images to a model with a threshold: what ``wtflow fit`` does."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from wtflow_jax import backbones
from wtflow_jax.backbones import Backbone, features
from wtflow_jax.data import find_good, open_image, parse_size, white_of
from wtflow_jax.data.framing import Framing, framed, size_for
from wtflow_jax.data.look import Look
from wtflow_jax.data.sample import File
from wtflow_jax.detector import detector, drift, route
from wtflow_jax.detector.config import Config, check_used, configure
from wtflow_jax.detector.model import Model
from wtflow_jax.flow import scores
from wtflow_jax.metrics.threshold import threshold
from wtflow_jax.support.console import Track, untracked
from wtflow_jax.support.environment import CACHE, memory, versions
from wtflow_jax.support.errors import WTFlowError

FOLDS = 5
"""Parts that good images are split into; each is scored by a model of the others."""
SAMPLE = 32
"""Images whose aspects are looked at."""
SHARE = 0.25
"""Of the memory, for the features: fitting holds them in some copies."""
LEAST = 3
"""Good images: each is scored by a model of two others at least."""


def fit(
    source: Any,
    *,
    bgr: bool = False,
    overlap: int | None = None,
    weights: str | None = None,
    cache: str | Path = CACHE,
    track: Track = untracked,
    **choices: Any,
) -> Model:
    """Fit a model on good images and set its threshold by scores of images left out.

    The threshold is that of ``metrics.threshold`` on the scores of ``cross_fit``. These models saw
    fewer images than the one that is returned, so the rate is no guarantee (docs/faq.md). The
    middle of the colour scale is the threshold.

    Args:
        source: of good images: a directory, a list of paths, arrays (H, W, 3), PIL images, as
            ``data.find_good`` has it. What is white in those of more than eight bits is taken from
            them.
        bgr: whether colours of arrays are blue, green, red, as OpenCV has them.
        overlap: pixels by which windows overlap; None shows each image whole.
        weights: file of the backbone; None takes the installed or downloaded ones.
        cache: directory for downloaded weights.
        track: shows progress.
        choices: flags of ``detector.config.configure``; here the default of ``velocity`` is
            ``exact``, of ``wt`` ``whiten`` and of ``false_alarms`` 0.01. An ``image_size`` of S in
            place of HxW gives windows of about S² pixels in the median aspect of the images, or
            S × S where they are cut.

    Raises:
        WTFlowError: fewer different images than ``LEAST``, one that cannot be decoded, or a value
            that cannot be.
    """
    files = find_good(source, bgr=bgr)
    config = configure(**{"velocity": "exact", "wt": "whiten", "false_alarms": 0.01} | choices)
    config.check()
    check_used(choices, [config])
    if len(files) < LEAST:
        raise WTFlowError(
            f"{len(files)} good images: too few to score each by a model of others, and so to "
            f"set a threshold by; give at least {LEAST}, better 20 or more"
        )
    framing = _framing(config, files, overlap)
    asked, options = config.features, dict(config.options)
    given = {"layer": asked.layer, "weights": weights, "cache": Path(cache), "options": options}
    backbone = backbones.load(asked.backbone, **given)
    windows = take(files, backbone, framing, asked.dense, track)
    where = route.upsampling(backbone, config, framing.size)
    held_out = cross_fit(windows, config, where, track)
    found = threshold(held_out.scores, config.decision.false_alarms)
    advance = track("model", 1)
    fitted = detector.fit(config, jnp.asarray(windows.maps))
    advance()
    # Of images that are all alike: a scale of some width.
    high = held_out.low + 2 * max(found.value - held_out.low, 1e-6)
    training = {
        "images": len(files),
        "fingerprint": hashlib.sha256("".join(sorted(windows.digests)).encode()).hexdigest(),
        "seen": sorted(windows.digests),
        "held_out": held_out.scores.tolist(),
        "held_out_of": held_out.of.tolist(),
        "usual": drift.usual(windows.looks),
    }
    return Model(framing, backbone, fitted, found, (held_out.low, high), training, versions())


def _framing(config: Config, files: Sequence[File], overlap: int | None) -> Framing:
    """Return how images are shown: as asked, or in their median aspect."""
    white = white_of(files)
    size = parse_size(config.features.image_size)
    if overlap is None and "x" not in config.features.image_size.lower():
        # Of large folders some tell as much as all.
        some = files[:: max(1, len(files) // SAMPLE)][:SAMPLE]
        images = (open_image(file, white) for file in some)
        aspects = [image.height / image.width for image in images]
        size = size_for(size[0] * size[1], float(np.median(aspects)))
    if overlap is not None and not 0 <= overlap < min(size):
        raise WTFlowError(f"--overlap {overlap}: give at least 0 and less than {min(size)}")
    return Framing(size, overlap, white)


class Windows(NamedTuple):
    """Features of all windows of some images."""

    maps: Float[np.ndarray, "k h w c"]  #: f
    owner: Int[np.ndarray, " k"]  #: index of each window's image, ascending
    digests: tuple[str, ...]  #: of the images; copies have the same
    looks: tuple[Look, ...] = ()  #: of the images, where they are some


def take(
    files: Sequence[File],
    backbone: Backbone,
    framing: Framing,
    dense: bool,
    track: Track = untracked,
) -> Windows:
    """Return the features of all windows of some images; ``dense`` as in ``features.compute``.

    Raises:
        WTFlowError: an image cannot be decoded; the features would not fit into memory.
    """
    advance = track("features", len(files))
    parts, owner = list[np.ndarray](), list[int]()
    digests, looks = list[str](), list[Look]()

    def windows() -> Iterator[tuple[File, np.ndarray]]:
        for i, (path, found) in enumerate(framed(files, framing)):
            if isinstance(found, WTFlowError):
                raise found
            digests.append(found.digest())
            looks.append(found.look)
            owner.extend([i] * len(found.windows))
            advance()
            yield from ((path, window) for window in found.windows)

    for batch in features.batched(backbone, windows(), dense):
        parts.append(batch)
        # As many windows an image as the first ones have.
        needed = batch[0].nbytes * len(owner) / (owner[-1] + 1) * len(files)
        if len(parts) == 1 and needed > SHARE * (limit := memory()):
            raise WTFlowError(
                f"{len(files)} images have about {needed / 2**30:.1f} GiB of features, which may "
                f"take {SHARE:.0%} of {limit / 2**30:.1f} GiB; give fewer images, or a smaller "
                "--overlap"
            )
    return Windows(np.concatenate(parts), np.array(owner), tuple(digests), tuple(looks))


class HeldOut(NamedTuple):
    """Good images as models see them that were fitted without them."""

    scores: Float[np.ndarray, " n"]  #: of the images, each once, however often it is there
    of: Int[np.ndarray, " n"]  #: index of each
    low: float  #: the lowest score of a pixel


def cross_fit(
    windows: Windows, config: Config, where: scores.Upsampling, track: Track = untracked
) -> HeldOut:
    """Score each image by a model that was fitted on others, and on no copy of it.

    There are ``FOLDS`` parts, or as many as images; an image is in one of them with its copies.

    Raises:
        WTFlowError: fewer than ``LEAST`` of the images are different ones.
    """
    numbers: dict[str, int] = {}
    number = np.array([numbers.setdefault(digest, len(numbers)) for digest in windows.digests])
    if len(numbers) < LEAST:
        raise WTFlowError(
            f"{len(number)} images are {len(numbers)} and copies of them; give at least {LEAST} "
            "different ones"
        )
    folds = min(FOLDS, len(numbers))
    order = np.random.default_rng(config.training.seed).permutation(len(numbers))
    part = (order % folds)[number]
    found, low = np.full(len(number), -np.inf, np.float32), math.inf
    advance = track("held-out scores", folds)
    for fold in range(folds):
        held = part[windows.owner] == fold
        fitted = detector.fit(config, jnp.asarray(windows.maps[~held]))
        predicted = route.predict(fitted, windows.maps[held], where)
        # Of several windows the highest.
        np.maximum.at(found, windows.owner[held], predicted.scores)
        low = min(low, float(predicted.maps.min()))
        advance()
    _, of = np.unique(number, return_index=True)
    return HeldOut(found[of], of, low)
