"""From images to scores in one compiled function: what a camera or a long list of files needs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wtflow_jax.backbones import Backbone, features
from wtflow_jax.detector import inference
from wtflow_jax.detector.config import Config
from wtflow_jax.detector.detector import Detector
from wtflow_jax.detector.inference import Prediction, PushForward
from wtflow_jax.flow import ode, scores
from wtflow_jax.support.compilation import XLA_OPTIONS
from wtflow_jax.support.errors import WTFlowError


class Pipeline(NamedTuple):
    """A detector with its backbone, compiled for batches of one size.

    Attributes:
        compiled: ``compiled(arrays, images) -> (scores, maps)``.
        arrays: weights, statistics and interpolation, on the device.
        shape: of a batch of images, (b, H, W, 3).
    """

    compiled: Callable[[Any, Any], tuple[Any, Any]]
    arrays: Any
    shape: tuple[int, int, int, int]

    def __call__(self, images: np.ndarray) -> Prediction:
        """Score images.

        Args:
            images: uint8 RGB (n, H, W, 3), n ≥ 1, as ``datasets.read_image`` returns them; the last
                batch is filled up.

        Raises:
            WTFlowError: there is none, or they have another size or type.
        """
        size, *expected = self.shape
        if not len(images) or (*images.shape[1:], images.dtype) != (*expected, np.uint8):
            found = f"{images.shape} {images.dtype}"
            raise WTFlowError(f"images {found}: give at least one of {tuple(expected)}, uint8")
        parts = []
        for i in range(0, len(images), size):
            batch = images[i : i + size]
            filled = np.concatenate([batch, np.repeat(batch[:1], size - len(batch), axis=0)])
            found = self.compiled(self.arrays, filled)
            parts.append([np.asarray(part)[: len(batch)] for part in found])
        return Prediction(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def upsampling(backbone: Backbone, config: Config, size: tuple[int, int]) -> scores.Upsampling:
    """Return where the cells of a map sit in images of a size (H, W)."""
    grid = features.grid(backbone, config.dense)
    offset = grid.offset if config.centres == "true" else None
    cells = features.shape(backbone, size, config.dense)[:2]
    return scores.upsampling(size, cells, grid.stride, offset)


class Program(NamedTuple):
    """The way from images to scores, before it is compiled.

    Attributes:
        run: ``run(arrays, images) -> (scores, maps)`` of uint8 images (b, H, W, 3); pure.
        arrays: weights, statistics and interpolation.
    """

    run: Callable[[Any, Any], tuple[Any, Any]]
    arrays: Any


def program(
    backbone: Backbone,
    detector: Detector,
    config: Config,
    size: tuple[int, int],
    push_forward: PushForward = ode.push_forward,
) -> Program:
    """Return the way from images to scores as one function.

    Normalisation, backbone, pooling, WT map, transport, scores, upsampling and image score are in
    it; decoding and resizing stay with ``datasets.read_image``.

    Args:
        backbone: a loaded one.
        detector: fitted on its features.
        config: solver, steps, score, pooling and the convention of cell centres.
        size: (H, W) of the images.
        push_forward: solves the flow.
    """
    how = inference.settings(detector, config)
    dense, fraction = config.dense, config.top_fraction

    def run(arrays: Any, images: Any) -> tuple[Any, Any]:
        weights, params, stats, where = arrays
        maps = features.pooled(backbone.apply, weights, images, dense)
        # Upsampled twice in words; where steps are the same, XLA finds that it is once.
        found = inference.cells(how, params, stats, maps, push_forward)
        detection, localization = (scores.upsample(cells, where) for cells in found)
        return scores.image_scores(detection, fraction), localization

    params = inference.rounded(detector.params, config)
    where = upsampling(backbone, config, size)
    return Program(run, (backbone.params, params, detector.stats, where))


def compile(
    backbone: Backbone,
    detector: Detector,
    config: Config,
    size: tuple[int, int],
    *,
    batch: int = 1,
) -> Pipeline:
    """Compile ``program`` for batches of one size, ahead of time.

    With ``compilation.keep`` the next process loads what this one compiled.

    Args:
        backbone: a loaded one.
        detector: fitted on its features.
        config: as given to ``program``.
        size: (H, W) of the images.
        batch: images a call.
    """
    run, arrays = program(backbone, detector, config, size)
    arrays = jax.device_put(arrays)
    shape = batch, *size, 3
    images = jax.ShapeDtypeStruct(shape, jnp.uint8)
    compiled = jax.jit(run, compiler_options=XLA_OPTIONS).lower(arrays, images).compile()
    return Pipeline(compiled, arrays, shape)
