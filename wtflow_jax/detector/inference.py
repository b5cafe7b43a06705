"""Scores of a fitted detector: features in, anomaly maps out (Algorithm 1, sampling; Eq. 2)."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from wtflow_jax.detector.config import Config
from wtflow_jax.detector.detector import BATCH, Detector, Start, to_x0
from wtflow_jax.flow import ode, scores, transport
from wtflow_jax.flow.types import Features, Params, Samples, VelocityFn
from wtflow_jax.geometry.radial import Radii, radial_profile
from wtflow_jax.support.compilation import XLA_OPTIONS
from wtflow_jax.support.errors import WTFlowError

PushForward: TypeAlias = Callable[..., Samples]
"""Solves as ``ode.push_forward`` does, with its parameters."""


class CellPrediction(NamedTuple):
    """Mean scores a cell, before upsampling; on the host.

    Attributes:
        detection: (n, h, w), after ``steps_det`` steps: for the image score.
        localization: (n, h, w), after ``steps_loc`` steps: for the anomaly map.
    """

    detection: Float[np.ndarray, "n h w"]
    localization: Float[np.ndarray, "n h w"]


class Prediction(NamedTuple):
    """Scores of images, higher means more anomalous.

    Attributes:
        scores: (n,) image scores; by Eq. 2 in [0.6011, 1], by log-density from 0 on.
        maps: (n, H, W) anomaly maps at image size, on the same scale.
    """

    scores: Float[np.ndarray, " n"]
    maps: Float[np.ndarray, "n H W"]


class Settings(NamedTuple):
    """What inference does, of a config's flags; hashable, a static argument.

    Attributes:
        velocity_fn: ``velocity_fn(params, t, x) -> v`` for one feature map.
        start: the WT map and what goes with it.
        solver: a name in ``ode.SOLVERS``.
        steps: its steps, detection and localization.
        time: T in [0, 1), where transport starts.
        residual: whether the residual at T is scored.
        score: a name in ``scores.SCORES``.
    """

    velocity_fn: VelocityFn
    start: Start
    solver: str
    steps: tuple[int, int]
    time: float
    residual: bool
    score: str


def settings(detector: Detector, config: Config) -> Settings:
    """Return what a config asks of a detector."""
    return Settings(
        detector.velocity_fn,
        detector.start,
        config.solver,
        (config.steps_det, config.steps_loc),
        config.start,
        config.residual,
        config.score,
    )


def rounded(params: Params, config: Config) -> Params:
    """Return parameters as the network computes with them, which changes no score.

    Under bfloat16 its matrices are rounded here, once, in place of at each call: half the bytes.
    """
    if config.precision == "float32" or config.velocity == "exact":
        return params
    dtype = jnp.dtype(config.precision)
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if leaf.ndim > 1 else leaf, params)


def cells(
    how: Settings,
    params: Params,
    stats: transport.Stats,
    features: Features,
    push_forward: PushForward = ode.push_forward,
) -> tuple[scores.CellScores, scores.CellScores]:
    """Push features through the flow and score each cell (Algorithm 1, sampling; Eq. 2); pure.

    Args:
        how: what is done.
        params: of the velocity field.
        stats: of the WT map.
        features: (n, h, w, c), before the WT map.
        push_forward: solves the flow.

    Returns:
        (n, h, w) for detection and for localization, the same where their steps are.
    """
    x0 = to_x0(how.start, stats, features)
    time = jnp.float32(how.time)
    # x0 plus the mean velocity on the way from (1 − T)·x0; T = 0 leaves the endpoint itself.
    scale = (time if how.residual else 1) / (1 - time)
    carry = partial(push_forward, how.velocity_fn, params, x0, solver=how.solver, start=time)
    found = {
        n: scores.cell_scores(scale * carry(steps=n), how.score) for n in sorted(set(how.steps))
    }
    detection, localization = how.steps
    return found[detection], found[localization]


_cells = jax.jit(cells, static_argnames="how", compiler_options=XLA_OPTIONS)


def predict_cells(
    detector: Detector, features: Float[np.ndarray, "n h w c"], config: Config
) -> CellPrediction:
    """Score the cells of one or more feature maps, a batch at a time; see ``cells``.

    Args:
        detector: a fitted one.
        features: (n, h, w, c), before the WT map.
        config: solver, steps, start, residual and score.

    Returns:
        Two maps a sample on the host, the same where ``steps_det`` equals ``steps_loc``.
    """
    how = settings(detector, config)
    params = rounded(detector.params, config)
    parts = []
    for start in range(0, len(features), BATCH):
        batch = features[start : start + BATCH]
        # One shape, one trace: the last batch is filled up with copies of its first sample.
        filled = np.concatenate([batch, np.repeat(batch[:1], BATCH - len(batch), axis=0)])
        found = _cells(how, params, detector.stats, jnp.asarray(filled))
        parts.append([np.asarray(part)[: len(batch)] for part in found])
    return CellPrediction(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def upsample(
    cells: Float[np.ndarray, "n h w"], upsampling: scores.Upsampling
) -> Float[np.ndarray, "n H W"]:
    """Upsample maps to the image, a batch at a time; returned to the host."""
    batches = [cells[i : i + BATCH] for i in range(0, len(cells), BATCH)]
    return np.concatenate([np.asarray(_upsample(batch, upsampling)) for batch in batches])


RADII_STEPS = 20


def radii(
    detector: Detector,
    features: Float[np.ndarray, "m h w c"],
    of: Int[np.ndarray, " m"],
    config: Config,
) -> Radii:
    """Follow some images from ``config.start`` to t = 1 in Euler steps (suppl. Tables XII to XIV).

    Args:
        detector: a fitted one.
        features: before the WT map.
        of: the images' indices, which are kept beside their radii.
        config: of the detector.
    """
    x0 = to_x0(detector.start, detector.stats, jnp.asarray(features))
    values = radial_profile(
        detector.velocity_fn, detector.params, x0, steps=RADII_STEPS, start=config.start
    )
    return Radii(of, np.asarray(values), config.start, float(np.sqrt(x0[0].size)))


_upsample = jax.jit(scores.upsample)
_image_scores = jax.jit(scores.image_scores, static_argnames="top_fraction")


def finish(cells: CellPrediction, upsampling: scores.Upsampling, top_fraction: float) -> Prediction:
    """Upsample cell scores to the image and take image scores (Sec. V-A).

    Args:
        cells: of n samples.
        upsampling: where the cells sit in the image.
        top_fraction: the share of pixels whose mean is the image score.
    """
    batches = [cells.detection[i : i + BATCH] for i in range(0, len(cells.detection), BATCH)]
    image = [_image_scores(_upsample(batch, upsampling), top_fraction) for batch in batches]
    return Prediction(np.concatenate(image), upsample(cells.localization, upsampling))


def predict(
    detector: Detector,
    features: Float[np.ndarray, "n h w c"],
    config: Config,
    upsampling: scores.Upsampling,
) -> Prediction:
    """Score images by their features: ``predict_cells``, then ``finish``.

    Raises:
        WTFlowError: a score is NaN or infinite, and would be above no threshold.
    """
    cells = predict_cells(detector, features, config)
    found = finish(cells, upsampling, config.top_fraction)
    if not all(np.isfinite(part).all() for part in found):
        raise WTFlowError(
            "scores are NaN or infinite: the features leave the range of float32, or training "
            "diverged; give a lower --scale, --power or --learning-rate, or another --wt"
        )
    return found
