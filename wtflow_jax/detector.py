"""The whole method for one category: features in, image scores and anomaly maps out."""

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from wtflow_jax import ode, scores, targets, train, transport, unet
from wtflow_jax.compilation import RUN_ONCE, XLA_OPTIONS
from wtflow_jax.config import Config
from wtflow_jax.types import Features, Params, VelocityFn

BATCH = 16


class Detector(NamedTuple):
    """A WT map and a velocity field, fitted to one category.

    Attributes:
        velocity_fn: ``velocity_fn(params, t, x) -> v`` for one feature map.
        params: its parameters.
        wt: name of the WT map.
        stats: the map's statistics, of the training features.
    """

    velocity_fn: VelocityFn
    params: Params
    wt: str
    stats: transport.Stats


class CellPrediction(NamedTuple):
    """Mean density proxies a cell, before upsampling.

    Attributes:
        detection: (n, h, w), after ``steps_det`` steps: for the image score.
        localization: (n, h, w), after ``steps_loc`` steps: for the anomaly map.
    """

    detection: Float[np.ndarray, "n h w"]
    localization: Float[np.ndarray, "n h w"]


class Prediction(NamedTuple):
    """Scores of images, higher means more anomalous.

    Attributes:
        scores: (n,) image scores, in [0.6011, 1).
        maps: (n, H, W) anomaly maps at image size, in [0.6011, 1).
    """

    scores: Float[np.ndarray, " n"]
    maps: Float[np.ndarray, "n H W"]


@lru_cache
def objective(config: Config) -> train.Objective:
    """Return what a config trains; the same object at each call, so that it compiles once."""
    velocity_fn = unet.velocity(config.width, config.position)
    return train.Objective(velocity_fn, targets.TARGETS[config.target], config.weight_decay)


_init = jax.jit(unet.init, static_argnums=(1, 2, 3), compiler_options=RUN_ONCE)


def init(config: Config, features: Features) -> tuple[Detector, train.TrainState]:
    """Fit the WT map and draw initial parameters.

    Args:
        config: the run's.
        features: of the training images, (n, h, w, c), before the WT map.

    Returns:
        An untrained detector and the state to train it from.
    """
    key, _ = jax.random.split(jax.random.key(config.seed))
    _, h, w, c = features.shape
    params = _init(key, (h, w, c), config.width, config.position)
    stats = jax.jit(transport.MAPS[config.wt].fit)(features)
    detector = Detector(objective(config).velocity_fn, params, config.wt, stats)
    return detector, train.init_state(objective(config), params)


def apply_wt(detector: Detector, features: Features) -> Features:
    """Return x0, the features after the detector's WT map."""
    return jax.jit(transport.MAPS[detector.wt].apply)(detector.stats, features)


def epochs(
    config: Config,
    detector: Detector,
    state: train.TrainState,
    features: Features,
    *,
    first_epoch: int = 0,
    advance: train.Advance = train.silent,
) -> Iterator[tuple[Detector, train.Epoch]]:
    """Train, and stop after each epoch with the detector as it is then.

    Args:
        config: the run's.
        detector: from ``init``.
        state: from ``init`` or a checkpoint; donated.
        features: of the training images, (n, h, w, c), before the WT map.
        first_epoch: how many epochs ``state`` has behind it.
        advance: called with (steps taken, loss so far in the epoch).

    Yields:
        The detector and the epoch's outcome; the next epoch reuses their memory.
    """
    for epoch in train.train(
        objective(config),
        state,
        apply_wt(detector, features),
        key=jax.random.split(jax.random.key(config.seed))[1],
        seed=config.seed,
        epochs=config.epochs,
        batch_size=config.batch_size,
        initial_rate=config.learning_rate,
        decay_at=config.decay_at,
        first_epoch=first_epoch,
        advance=advance,
    ):
        yield detector._replace(params=epoch.state.params), epoch


def fit(config: Config, features: Features) -> Detector:
    """Fit the WT map and train the velocity field (Algorithm 1, training).

    Args:
        config: the run's.
        features: of good images, (n, h, w, c).
    """
    detector, state = init(config, features)
    *_, (detector, _) = epochs(config, detector, state, features)
    return detector


@partial(
    jax.jit, static_argnames=("velocity_fn", "wt", "solver", "steps"), compiler_options=XLA_OPTIONS
)
def _cells(
    velocity_fn: VelocityFn,
    params: Params,
    wt: str,
    stats: transport.Stats,
    features: Features,
    solver: str,
    steps: tuple[int, ...],
) -> list[Float[Array, "n h w"]]:
    x0 = transport.MAPS[wt].apply(stats, features)
    return [
        scores.cell_scores(ode.push_forward(velocity_fn, params, x0, steps=n, solver=solver))
        for n in steps
    ]


def predict_cells(
    detector: Detector, features: Float[np.ndarray, "n h w c"], config: Config
) -> CellPrediction:
    """Push features through the flow and score each cell (Algorithm 1, sampling; Eq. 2).

    Args:
        detector: a fitted one.
        features: (n, h, w, c), before the WT map.
        config: solver and steps.

    Returns:
        Two maps a sample, the same where ``steps_det`` equals ``steps_loc``.
    """
    steps = tuple(sorted({config.steps_det, config.steps_loc}))
    parts: dict[int, list[np.ndarray]] = {n: [] for n in steps}
    for start in range(0, len(features), BATCH):
        batch = features[start : start + BATCH]
        # One shape, one trace: the last batch is filled up with copies of its first sample.
        filled = np.concatenate([batch, np.repeat(batch[:1], BATCH - len(batch), axis=0)])
        result = _cells(
            detector.velocity_fn,
            detector.params,
            detector.wt,
            detector.stats,
            jnp.asarray(filled),
            config.solver,
            steps,
        )
        for n, cells in zip(steps, result, strict=True):
            parts[n].append(np.asarray(cells)[: len(batch)])
    by_steps = {n: np.concatenate(part) for n, part in parts.items()}
    return CellPrediction(by_steps[config.steps_det], by_steps[config.steps_loc])


def upsample(
    cells: Float[np.ndarray, "n h w"], upsampling: scores.Upsampling
) -> Float[np.ndarray, "n H W"]:
    """Upsample maps to the image, a batch at a time; returned to the host."""
    batches = [cells[i : i + BATCH] for i in range(0, len(cells), BATCH)]
    return np.concatenate([np.asarray(_upsample(batch, upsampling)) for batch in batches])


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
    """Score images by their features: ``predict_cells``, then ``finish``."""
    cells = predict_cells(detector, features, config)
    return finish(cells, upsampling, config.top_fraction)
