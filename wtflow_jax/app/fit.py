"""From good images to a model with a threshold: what ``wtflow fit`` does."""

import hashlib
import math
import warnings
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from wtflow_jax import backbones
from wtflow_jax.app import groups
from wtflow_jax.app.groups import Alike, Groups
from wtflow_jax.backbones import Backbone, features
from wtflow_jax.data import find_good, turning, white_of
from wtflow_jax.data.framing import Framing, aspect, framed, size_for, whole
from wtflow_jax.data.light import factors, lit
from wtflow_jax.data.look import Look
from wtflow_jax.data.sample import File
from wtflow_jax.detector import detector, drift, route
from wtflow_jax.detector.config import Config, check_used, configure
from wtflow_jax.detector.detector import Detector
from wtflow_jax.detector.model import Model
from wtflow_jax.flow import scores
from wtflow_jax.metrics.threshold import threshold
from wtflow_jax.support.console import Track, untracked
from wtflow_jax.support.environment import CACHE, memory, versions
from wtflow_jax.support.errors import WTFlowError, WTFlowWarning, listed, shown
from wtflow_jax.support.threads import lapack_on_one_thread

FOLDS = 5
"""Folds of the good images; each is scored by a model of the others."""
SHARE = 0.25
"""Share of the memory for the features: fitting holds several copies of them."""
LEAST = 3
"""Fewest good images or parts: each is scored by a model of two others at least."""
MOST = 0.5
"""Largest share of good images that may be left out for their high scores."""
ROUNDS = 5
"""Rounds of ``trimmed``, at most: at first models are fitted on defects like those they score."""


def fit(
    source: Any,
    *,
    bgr: bool = False,
    group: str | Sequence[Hashable] = groups.ALIKE,
    contamination: float = 0.0,
    overlap: int | None = None,
    weights: str | None = None,
    cache: str | Path = CACHE,
    track: Track = untracked,
    **choices: Any,
) -> Model:
    """Fit a model on good images and set its threshold by held-out scores.

    ``metrics.threshold`` sets the threshold by the scores of ``cross_fit``. The models of
    ``cross_fit`` saw fewer images than the returned model, so the rate is no guarantee
    (docs/faq.md). The threshold is the middle of the colour scale. Of several images of a part the
    highest score counts: the rate is then that of good parts with an image above the threshold.

    Args:
        source: good images: a directory, a list of paths, arrays (H, W, 3), PIL images; see
            ``data.find_good``. Those of more than eight bits determine which value is white.
        bgr: whether colours of arrays are blue, green, red, as in OpenCV.
        group: how to know which images show one part. ``alike`` is ``groups.alike``, ``folder``
            the directory of each file, ``none`` one part per image; any other text is a regular
            expression, see ``groups.named``. Or one label per image.
        contamination: share of the images, or parts, that may be defective: ``trimmed`` leaves
            this share out of the model and of the threshold. The threshold's rate holds if all of
            these are defective; if all are good it is ``metrics.threshold.highest_rate``.
        overlap: pixels by which windows overlap; None scales each image into one window.
        weights: file of the backbone; None takes the installed or downloaded ones.
        cache: directory for downloaded weights.
        track: shows progress.
        choices: flags of ``detector.config.configure``. ``preset`` and ``pose`` default to
            ``auto``: ``data.turning`` decides whether images are turned, never with ``overlap``.
            An ``image_size`` of S in place of HxW gives windows of about S² pixels in the median
            aspect of the images, or S × S with ``overlap``.

    Raises:
        WTFlowError: fewer distinct images or parts than ``LEAST``, an image that cannot be
            decoded, or an invalid value.
    """
    if not 0 <= contamination <= MOST:
        raise WTFlowError(f"--contamination {contamination}: give at least 0 and at most {MOST}")
    group = _asked(group)
    files = find_good(source, bgr=bgr)
    usual: dict[str, Any] = {"preset": "auto", "pose": "auto"}
    config = configure(**usual | choices)
    config.check()
    check_used(choices, [config])
    if len(files) < LEAST:
        raise WTFlowError(
            f"{len(files)} good images: too few to hold some out and set a threshold; give at "
            f"least {LEAST}, better 20 or more"
        )
    framing = _framing(config, files, overlap, track)
    lie = None
    if config.features.pose == "auto" and overlap is None:
        lie = turning.of_files(files, framing.white, track)
        framing = framing._replace(pose=lie.shift if lie.use else None)
    asked, options = config.features, dict(config.options)
    given = {"layer": asked.layer, "weights": weights, "cache": Path(cache), "options": options}
    backbone = backbones.load(asked.backbone, **given)
    windows = take(files, backbone, framing, asked.dense, track, asked.jitter)
    where = route.upsampling(backbone, config, framing.size)
    labels = grouped(files, windows, group, track)
    fitted = _model(config, windows.training(np.ones(len(windows.owner), bool)), track)
    held_out, kept = trimmed(windows, labels, fitted, where, contamination, track)
    found = threshold(held_out.scores[kept], config.decision.false_alarms)
    own = kept[labels]
    if not kept.all():
        fitted = _model(config, windows.training(own[windows.owner]), track)
    seen = sorted(digest for digest, is_own in zip(windows.digests, own, strict=True) if is_own)
    # The scale must have some width, even if all scores are equal.
    high = held_out.low + 2 * max(found.value - held_out.low, 1e-6)
    training = {
        "images": len(seen),
        "fingerprint": hashlib.sha256("".join(seen).encode()).hexdigest(),
        "seen": seen,
        "groups": labels.tolist(),
        "held_out": held_out.scores[kept].tolist(),
        "held_out_of": held_out.of[kept].tolist(),
        "left_out": held_out.scores[~kept].tolist(),
        "left_out_of": held_out.of[~kept].tolist(),
        "usual": drift.usual([windows.looks[i] for i in np.flatnonzero(own)]),
    }
    if lie is not None and lie.use:
        training["pose"] = str(lie)
    return Model(framing, backbone, fitted, found, (held_out.low, high), training, versions())


def _model(config: Config, maps: np.ndarray, track: Track) -> Detector:
    advance = track("model", 1)
    fitted = detector.fit(config, jnp.asarray(maps))
    advance()
    return fitted


def _asked(group: str | Iterable[Hashable]) -> str | list[Hashable]:
    """Check ``group``, and return it, labels as a list; WTFlowError if it is invalid."""
    if isinstance(group, str):
        if group not in (groups.ALIKE, groups.FOLDER, groups.NONE):
            groups.expression(group)
        return group
    try:
        labels = [*group]
        if None not in labels and all(isinstance(label, Hashable) for label in labels):
            return labels
    except TypeError:
        pass
    raise WTFlowError("group: give a word, a regular expression, or one label per image, not None")


def _framing(
    config: Config, files: Sequence[File], overlap: int | None, track: Track = untracked
) -> Framing:
    """Return the framing: as requested, or in the median aspect of the images."""
    white = white_of(files, track)
    size = config.features.size
    if overlap is None and "x" not in config.features.image_size.lower():
        multiple = backbones.BACKBONES.make(config.features.backbone).multiple
        size = size_for(size[0] * size[1], aspect(files, white), multiple)
    if overlap is not None and not 0 <= overlap < min(size):
        raise WTFlowError(f"--overlap {overlap}: give at least 0 and less than {min(size)}")
    return Framing(size, overlap, white)


class Windows(NamedTuple):
    """Features of all windows of some images."""

    maps: Float[np.ndarray, "k h w c"]  #: f
    owner: Int[np.ndarray, " k"]  #: index of each window's image, ascending
    digests: tuple[str, ...]  #: of the images; copies have equal ones
    looks: tuple[Look, ...] = ()  #: of the images; empty for other samples
    thumbs: Float[np.ndarray, "n s s"] = np.empty((0, 0, 0))  #: of images by ``groups.thumbnail``
    relit: Int[np.ndarray, " r"] = np.empty(0, int)  #: windows that models see in other light
    in_light: Float[np.ndarray, "r h w c"] = np.empty((0, 0, 0, 0), np.float32)  #: their features

    def training(self, chosen: Bool[np.ndarray, " k"]) -> Float[np.ndarray, "m h w c"]:
        """Return the features of the chosen windows as models are fitted on them."""
        maps, own = self.maps[chosen], chosen[self.relit]
        if own.any():
            maps[(np.cumsum(chosen) - 1)[self.relit[own]]] = self.in_light[own]
        return maps


def take(
    files: Sequence[File],
    backbone: Backbone,
    framing: Framing,
    dense: bool,
    track: Track = untracked,
    jitter: float = 0.0,
) -> Windows:
    """Return the features of all windows of some images; ``dense`` as in ``features.compute``.

    With ``jitter`` the images of ``data.light`` have features in other light too; digests, looks
    and thumbnails are of images as they are.

    Raises:
        WTFlowError: an image cannot be decoded; the features would not fit into memory.
    """
    advance = track("features", len(files))
    parts, owner = list[np.ndarray](), list[int]()
    digests, looks = list[str](), list[Look]()
    thumbs = list[np.ndarray]()
    light, is_lit = factors(len(files), jitter).tolist(), list[bool]()

    def windows() -> Iterator[tuple[File, np.ndarray]]:
        for i, (path, found) in enumerate(framed(files, framing)):
            if isinstance(found, WTFlowError):
                raise found
            digests.append(found.digest())
            looks.append(found.look)
            thumbs.append(groups.thumbnail(whole(found, framing)))
            owner.extend([i] * len(found.windows))
            advance()
            for window in found.windows:
                is_lit.append(False)
                yield path, window
                if light[i] != 1:
                    is_lit.append(True)
                    yield path, lit(window, light[i])

    for batch in features.batched(backbone, windows(), dense):
        parts.append(batch)
        # Assume that all images have as many windows as the first ones.
        needed = batch[0].nbytes * len(owner) / (owner[-1] + 1) * len(files)
        if len(parts) == 1 and needed > SHARE * (limit := memory()):
            smaller = "--image-size" if framing.overlap is None else "--overlap"
            raise WTFlowError(
                f"{len(files)} images have about {needed / 2**30:.1f} GiB of features; the limit "
                f"is {SHARE:.0%} of {limit / 2**30:.1f} GiB; give fewer images, or a smaller "
                f"{smaller}"
            )
    taken = tuple(digests), tuple(looks), np.stack(thumbs)
    maps, others = np.concatenate(parts), np.array(is_lit)
    # The window before each that is in other light is the same window.
    relit = (np.cumsum(~others) - 1)[others]
    return Windows(maps[~others], np.array(owner), *taken, relit, maps[others])


def grouped(
    files: Sequence[File],
    windows: Windows,
    group: str | Sequence[Hashable],
    track: Track = untracked,
) -> Groups:
    """Return groups of images: those that show one part, and copies under any name.

    Args:
        files: files of the images.
        windows: their windows.
        group: as in ``fit``.
        track: shows progress.

    Raises:
        WTFlowError: the numbers of labels and images differ; as ``groups.named``.
    """
    copies = groups.numbered(windows.digests)
    if not isinstance(group, str):
        if len(group) != len(files):
            raise WTFlowError(f"{len(group)} labels for {len(files)} images: give one per image")
        return groups.joined(copies, groups.numbered(group))
    if group == groups.NONE:
        return copies
    if group == groups.ALIKE:
        found = groups.alike(windows.thumbs, track)
        _doubt(files, found)
        return groups.joined(copies, found.groups)
    return groups.joined(copies, groups.named(files, group))


def _doubt(files: Sequence[File], found: Alike) -> None:
    """Warn of images that may show one part, but are taken for different parts."""
    sizes = np.bincount(found.doubted)
    if len(sizes) == found.groups.max() + 1:
        return
    of_largest = np.flatnonzero(found.doubted == sizes.argmax()).tolist()
    largest = listed([shown(files[i]) for i in of_largest])
    line = (
        f"images of {(sizes > 1).sum()} groups are much more similar to each other than to others, "
        f"for instance {largest}: if each group shows one part, good images will be called "
        "defective: give --group; if they are kinds of parts, give --group none"
    )
    warnings.warn(line, WTFlowWarning, stacklevel=2)


class HeldOut(NamedTuple):
    """Scores of good images, by models fitted without these images and their groups."""

    scores: Float[np.ndarray, " g"]  #: of the groups, each the highest of its images
    of: Int[np.ndarray, " g"]  #: index of that image
    low: float  #: the lowest score of a pixel


def cross_fit(
    windows: Windows,
    labels: Groups,
    model: Detector,
    where: scores.Upsampling,
    kept: Bool[np.ndarray, " g"] | None = None,
    track: Track = untracked,
) -> HeldOut:
    """Score each image by a model that was fitted on images of other groups.

    There are ``FOLDS`` folds, or one per kept group if these are fewer.

    Args:
        windows: windows of the images.
        labels: the group of each image.
        model: fitted on all images; the models of folds take its config, and the choices of its
            WT map.
        where: position of the cells in the images.
        kept: which groups models are fitted on; None: all.
        track: shows progress.

    Raises:
        WTFlowError: fewer than ``LEAST`` groups are kept.
    """
    kept = np.ones(labels.max() + 1, bool) if kept is None else kept
    count = int(kept.sum())
    if count < LEAST:
        raise WTFlowError(
            f"{len(labels)} good images show {count} parts, without copies and images left out; "
            f"give images of at least {LEAST}"
        )
    folds = min(FOLDS, count)
    fold_of = np.arange(len(kept)) % folds
    fold_of[kept] = np.random.default_rng(model.config.training.seed).permutation(count) % folds
    found, low = np.full(len(labels), -np.inf, np.float32), math.inf
    advance = track("held-out scores", folds)

    with lapack_on_one_thread():
        for fold in range(folds):
            held = fold_of == fold
            others = windows.training((kept & ~held)[labels][windows.owner])
            fitted = detector.fit(model.config, jnp.asarray(others), model)
            own = held[labels][windows.owner]
            predicted = route.predict(fitted, windows.maps[own], where)
            # The highest window of an image counts.
            np.maximum.at(found, windows.owner[own], predicted.scores)
            low = min(low, float(predicted.maps.min()))
            advance()
    # The highest image of a group counts: the first in this order.
    order = np.lexsort((-found, labels))
    of = order[np.unique(labels[order], return_index=True)[1]]
    return HeldOut(found[of], of, low)


def left_out(share: float, n: int) -> int:
    """Return how many of n groups a share leaves out, rounded up."""
    # In float64 0.07 * 100 is slightly above 7.
    return math.ceil(share * n - 1e-9)


def trimmed(
    windows: Windows,
    labels: Groups,
    model: Detector,
    where: scores.Upsampling,
    share: float,
    track: Track = untracked,
) -> tuple[HeldOut, Bool[np.ndarray, " g"]]:
    """Score each image as ``cross_fit`` does, by models without the groups of highest scores.

    The ``share`` of groups with the highest scores is left out, rounded up. Models without them
    score all groups again, as a defect hides similar defects in other folds. This repeats until the
    choice is stable, at most ``ROUNDS`` times, like the concentration steps of FAST-MCD
    (Technometrics 1999) for a robust covariance. A group keeps its highest score of all rounds:
    else, of two similar defects, one would return whenever the other leaves. Similar defects that
    are in several folds in every round are not found.

    Args:
        windows: as in ``cross_fit``, like the other arguments.
        share: share of groups to leave out, from 0 to ``MOST``.

    Returns:
        Scores of all groups, and whether each is kept.
    """
    kept = np.ones(labels.max() + 1, bool)
    held_out = cross_fit(windows, labels, model, where, kept, track)
    count = left_out(share, len(kept))
    strange = held_out.scores
    for _ in range(ROUNDS):
        before, kept = kept, np.argsort(np.argsort(strange)) < len(kept) - count
        if (kept == before).all():
            break
        held_out = cross_fit(windows, labels, model, where, kept, track)
        strange = np.maximum(strange, held_out.scores)
    return held_out, kept
