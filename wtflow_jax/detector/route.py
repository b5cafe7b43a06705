"""The one route from images to scores: features, cells, then maps and image scores.

Three compiled functions of a fixed batch, ``features.run``, ``algorithm.sample`` and ``finished``.
``fit``, ``predict``, ``evaluate``, exported programs and experiments use them, so a threshold and
the scores that are compared with it come from the same code.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from wtflow_jax.backbones import Backbone, features
from wtflow_jax.detector.algorithm import Sampling, sample
from wtflow_jax.detector.config import Config
from wtflow_jax.detector.detector import Detector, sampling
from wtflow_jax.flow import scores
from wtflow_jax.support.batches import in_batches
from wtflow_jax.support.compilation import XLA_OPTIONS
from wtflow_jax.support.errors import WTFlowError

BATCH = features.BATCH
"""Samples per call of the compiled functions."""

FeatureMaps = Float[np.ndarray, "n h w c"]
"""f, n at least 1."""


class Cells(NamedTuple):
    """Scores of the cells of feature maps; on the host."""

    detection: Float[np.ndarray, "n h w"]  #: after ``steps_det`` steps: for the image score
    localization: Float[np.ndarray, "n h w"]  #: after ``steps_loc`` steps: for the anomaly map


class Prediction(NamedTuple):
    """Scores of images, higher means more anomalous; with Eq. 2 in [0.6011, 1]."""

    scores: Float[np.ndarray, " n"]  #: of images
    maps: Float[np.ndarray, "n H W"]  #: at image size


def finished(
    cells: tuple[Array, Array], where: scores.Upsampling, top_fraction: float
) -> tuple[Array, Array]:
    """Return image scores (n,) and maps (n, H, W) of cells (Sec. V-A); pure.

    Args:
        cells: scores for detection and for localization, (n, h, w) each.
        where: position of the cells in the image.
        top_fraction: the share of highest pixels whose mean is the image score.
    """
    # If both parts are the same array, XLA upsamples it once.
    detection, localization = (scores.upsample(part, where) for part in cells)
    return scores.image_scores(detection, top_fraction), localization


_sample = jax.jit(sample, static_argnames="how", compiler_options=XLA_OPTIONS)
_finish = jax.jit(finished, static_argnames="top_fraction")


def cells(detector: Detector, maps: FeatureMaps) -> Cells:
    """Return the cell scores of feature maps."""
    how, params = sampling(detector.config), detector.config.velocity.rounded(detector.params)

    def one(part: np.ndarray) -> tuple[Array, Array]:
        return _sample(how, params, detector.stats, jnp.asarray(part))

    return Cells(*in_batches(one, BATCH, maps))


def finish(found: Cells, where: scores.Upsampling, top_fraction: float) -> Prediction:
    """Return image scores and maps of cell scores; see ``finished``."""

    def one(pair: np.ndarray) -> tuple[Array, Array]:
        return _finish((pair[:, 0], pair[:, 1]), where, top_fraction)

    return Prediction(*in_batches(one, BATCH, np.stack(found, axis=1)))


def predict(detector: Detector, maps: FeatureMaps, where: scores.Upsampling) -> Prediction:
    """Score images by their features; ``where`` is the position of cells in the images.

    Raises:
        WTFlowError: a score is NaN or infinite.
    """
    found = finish(cells(detector, maps), where, detector.config.decision.top_fraction)
    if not all(np.isfinite(part).all() for part in found):
        raise WTFlowError(
            "scores are NaN or infinite: the features leave the range of float32, or training "
            "diverged; give a lower --scale, --power or --learning-rate, or another --wt"
        )
    return found


def upsampling(
    backbone: Backbone, config: Config, size: tuple[int, int], centres: str | None = None
) -> scores.Upsampling:
    """Return how cells become maps of images of a size (H, W); ``centres`` is the config's."""
    dense, asked = config.features.dense, config.decision
    grid = features.grid(backbone, dense)
    offset = grid.offset if (centres or asked.centres) == "true" else None
    cells = features.shape(backbone, size, dense)[:2]
    return scores.upsampling(size, cells, grid.stride, offset, asked.blur)


def program(
    backbone: Backbone,
    detector: Detector,
    size: tuple[int, int],
    how: Sampling,
    *,
    compiled: bool = False,
) -> tuple[Callable[[Any, Any], tuple[Array, Array]], Any]:
    """Return the route from decoded images of a size (H, W) to scores, and its arrays.

    Args:
        backbone: the loaded backbone.
        detector: a detector fitted on its features.
        size: size of the images.
        how: settings of inference: ``detector.sampling``, or equivalent ones.
        compiled: whether to use the three compiled functions; else pure ones, for export.

    Returns:
        ``run(arrays, images) -> (scores, maps)`` of uint8 images (b, H, W, 3); and the arrays:
        weights, statistics and interpolation.
    """
    config = detector.config
    top_fraction = config.decision.top_fraction
    pooling = features.pooling(backbone, config.features.dense)
    pure = features.taken, sample, finished
    take, score, finish = (features.run, _sample, _finish) if compiled else pure

    def run(arrays: Any, images: Any) -> tuple[Array, Array]:
        weights, params, stats, where = arrays
        maps = take(backbone.apply, weights, images, pooling)
        return finish(score(how, params, stats, maps), where, top_fraction)

    params, where = config.velocity.rounded(detector.params), upsampling(backbone, config, size)
    return run, (backbone.params, params, detector.stats, where)


Scorer: TypeAlias = Callable[[np.ndarray], Prediction]
"""The route for uint8 RGB images (n, H, W, 3) of one size, n at least 1."""


def scorer(
    backbone: Backbone, detector: Detector, size: tuple[int, int], batch: int = BATCH
) -> Scorer:
    """Return the route for images of a size (H, W), ``batch`` per call, its arrays on the device.

    The first call compiles it, or loads it from the compilation cache (``compilation.keep``). It
    raises WTFlowError if images have another shape or dtype.
    """
    run, arrays = program(backbone, detector, size, sampling(detector.config), compiled=True)
    call = partial(run, jax.device_put(arrays))

    def score(images: np.ndarray) -> Prediction:
        if not len(images) or images.shape[1:] != (*size, 3) or images.dtype != np.uint8:
            found = f"{images.shape} {images.dtype}"
            raise WTFlowError(f"images {found}: give at least one of {(*size, 3)}, uint8")
        return Prediction(*in_batches(call, batch, images))

    return score
