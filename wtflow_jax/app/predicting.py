"""Scores of any number of image files, in constant memory: what ``wtflow predict`` does."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from flax.errors import FlaxError
from jaxtyping import Float, UInt8

from wtflow_jax.data import framing
from wtflow_jax.data.framing import Framed
from wtflow_jax.data.sample import File
from wtflow_jax.detector import pipeline
from wtflow_jax.detector.model import Model
from wtflow_jax.support.errors import WTFlowError

BATCH = 8
"""Windows a call of the compiled function."""


class Scored(NamedTuple):
    """What is found of an image file.

    Attributes:
        path: as it was given.
        error: why it could not be scored; None where it could.
        score: of the image, higher is more anomalous; None with an error.
        defective: whether that is above the model's threshold.
        map: of the anomaly, float32 (h, w); None with an error.
        pixels: the image at the map's size, uint8 RGB (h, w, 3).
    """

    path: File
    error: str | None = None
    score: float | None = None
    defective: bool | None = None
    map: Float[np.ndarray, "h w"] | None = None
    pixels: UInt8[np.ndarray, "h w 3"] | None = None


def compile(model: Model, batch: int = BATCH) -> pipeline.Pipeline:
    """Compile the way from windows to scores; see ``pipeline.compile``.

    Raises:
        WTFlowError: the model's config does not fit its tensors: it was edited.
    """
    backbone, config, size = model.backbone, model.config, model.framing.size
    try:
        return pipeline.compile(backbone, model.detector, config, size, batch=batch)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, FlaxError) as error:
        first, *_ = str(error).splitlines() or [type(error).__name__]
        raise WTFlowError(
            f"the model's {config.velocity} velocity does not fit its tensors ({first}); fit it "
            "again"
        ) from error


def predict(
    model: Model, paths: Iterable[File], scorer: pipeline.Pipeline | None = None
) -> Iterator[Scored]:
    """Score image files one after another, a few in memory at a time.

    Args:
        model: a fitted or loaded one.
        paths: of images, any iterable; it is read as far ahead as images are decoded.
        scorer: of ``compile``; compiled here where it is left out.
    """
    return score(model, framing.framed(paths, model.framing), scorer or compile(model))


def score(
    model: Model, images: Iterable[tuple[File, Framed | WTFlowError]], scorer: pipeline.Pipeline
) -> Iterator[Scored]:
    """Score images that are decoded; one of several windows has the score of its highest.

    Args:
        model: a fitted or loaded one.
        images: of ``framing.framed``.
        scorer: of ``compile``.
    """
    waiting: list[tuple[File, Framed | WTFlowError]] = []
    count = 0
    for path, found in images:
        waiting.append((path, found))
        if isinstance(found, Framed):
            count += len(found.windows)
        if count >= scorer.shape[0]:
            yield from _scored(model, scorer, waiting)
            waiting, count = [], 0
    yield from _scored(model, scorer, waiting)


def _scored(
    model: Model, scorer: pipeline.Pipeline, waiting: list[tuple[File, Framed | WTFlowError]]
) -> Iterator[Scored]:
    windows = [found.windows for _, found in waiting if isinstance(found, Framed)]
    parts = iter(())
    if windows:
        ends = np.cumsum([len(part) for part in windows])[:-1]
        found = scorer(np.concatenate(windows))
        parts = zip(np.split(found.scores, ends), np.split(found.maps, ends), strict=True)
    for path, image in waiting:
        if isinstance(image, WTFlowError):
            yield Scored(path, str(image))
            continue
        scores, maps = next(parts)
        if not (np.isfinite(scores).all() and np.isfinite(maps).all()):
            # NaN is above no threshold: the image would be called good.
            yield Scored(path, f"{path}: its scores are NaN or infinite; fit the model again")
            continue
        score = float(scores.max())
        yield Scored(
            path,
            score=score,
            defective=score > model.threshold.value,
            map=framing.join(image, maps, model.framing),
            pixels=framing.whole(image, model.framing),
        )
