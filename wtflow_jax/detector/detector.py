"""The detector of one category: a WT map and a velocity (Algorithm 1)."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wtflow_jax.detector import algorithm
from wtflow_jax.detector.algorithm import Sampling, Start, to_x0
from wtflow_jax.detector.config import Config
from wtflow_jax.flow.maps import Stats, power
from wtflow_jax.flow.types import Features, Params, PRNGKey, Stored
from wtflow_jax.support.compilation import RUN_ONCE
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.training import sharding
from wtflow_jax.training.schedule import BEGINNING, Past, decay_steps
from wtflow_jax.training.state import Objective, TrainState, init_state
from wtflow_jax.velocities import Velocity

CHUNK = 16
"""Feature maps per read, if features are on disk."""


class Detector(NamedTuple):
    """A WT map and a velocity, fitted to one category."""

    config: Config  #: which map, which velocity, and how they are sampled
    params: Params  #: of the velocity
    stats: Stats  #: of the WT map

    def x0(self, features: Features) -> Features:
        """Return x0 (n, h, w, c), the features after the WT map."""
        return to_x0(start(self.config), self.stats, features)


def start(config: Config) -> Start:
    """Return how a config's features become x0."""
    return Start(config.wt, config.flow.power, config.flow.scale)


def sampling(config: Config) -> Sampling:
    """Return a config's settings of inference."""
    asked, velocity_fn = config.inference, config.velocity.velocity_fn()
    what = (asked.steps_det, asked.steps_loc), asked.start, asked.residual, config.score
    what = *what, config.wt.channels
    return Sampling(start(config), velocity_fn, config.solver, *what)


def objective(config: Config, samples: int, layout: sharding.Layout = sharding.LOCAL) -> Objective:
    """Return a config's training objective for a number of training samples."""
    asked = config.training
    steps = -(-samples // min(asked.batch_size, samples))
    decay_at = decay_steps(asked.epochs, steps, asked.decay_at)
    laws = config.target, config.time_law, config.loss, config.coupling
    adam = asked.learning_rate, decay_at, asked.weight_decay
    precision = getattr(config.velocity, "precision", "float32")
    return Objective(config.velocity.velocity_fn(), *laws, *adam, precision, layout)


def refuse_stored(config: Config) -> None:
    """Raise WTFlowError if a config needs all training features in memory."""
    for flag, streams in (("velocity", config.velocity.trained), ("wt", config.wt.streams)):
        if not streams:
            raise WTFlowError(
                f"--{flag} {getattr(config.flow, flag)}: needs all training features in memory; "
                f"give a higher --resident, fewer images, or another --{flag}"
            )


def _statistics(
    config: Config, features: Features | Stored, layout: sharding.Layout, like: "Detector | None"
) -> Stats:
    exponent = config.flow.power
    if not isinstance(features, Stored):
        whole = power(features, exponent)
        return config.wt.fit_like(like.stats, whole) if like else config.wt.fit(whole)
    rows = np.array_split(np.arange(features.shape[0]), -(-features.shape[0] // CHUNK))
    maps = (power(jnp.asarray(features.read(row)), exponent) for row in rows)
    return layout.replicate(config.wt.fit_batches(maps))


@partial(jax.jit, static_argnums=(0, 2, 3), compiler_options=RUN_ONCE)
def _init(
    velocity: Velocity, key: PRNGKey, shape: tuple[int, ...], layout: sharding.Layout
) -> Params:
    return layout.keep(velocity.init(key, jax.ShapeDtypeStruct(shape, jnp.float32)))


def init(
    config: Config,
    features: Features | Stored,
    layout: sharding.Layout = sharding.LOCAL,
    like: Detector | None = None,
) -> tuple[Detector, TrainState | None]:
    """Fit the WT map; draw a network's first parameters, or fit an exact velocity.

    Args:
        config: config of the detector.
        features: features of the training images, f (n, h, w, c).
        layout: the devices.
        like: a detector of more images; the WT map keeps its choices.

    Returns:
        The detector and its first training state; the state is None if nothing is trained.

    Raises:
        WTFlowError: the features are on disk, and the config needs them in memory.
    """
    if isinstance(features, Stored):
        refuse_stored(config)
    key, _ = jax.random.split(jax.random.key(config.training.seed))
    detector = Detector(config, (), _statistics(config, features, layout, like))
    if not config.velocity.trained:
        assert not isinstance(features, Stored)
        x0 = detector.x0(features) if config.velocity.reads_x0 else features
        return detector._replace(params=config.velocity.init(key, x0)), None
    params = _init(config.velocity, key, features.shape, layout)
    goal = objective(config, features.shape[0], layout)
    return detector._replace(params=params), init_state(goal, params)


def training(
    detector: Detector,
    state: TrainState,
    features: Features | Stored,
    layout: sharding.Layout = sharding.LOCAL,
    past: Past = BEGINNING,
) -> algorithm.Training:
    """Train a detector of ``init``: ``algorithm.train`` with the settings of its config.

    ``state`` is from ``init`` or a checkpoint, and is donated; ``past`` is the progress up to it.

    Raises:
        WTFlowError: a batch cannot be split over the devices; training diverges.
    """
    asked, samples = detector.config.training, features.shape[0]
    batch, devices = min(asked.batch_size, samples), layout.devices
    if batch % devices:
        raise WTFlowError(
            f"{batch} images a step, {samples} to train on: not a multiple of the {devices} "
            f"devices of --mesh; give fewer devices, or a --batch-size of {devices} or a multiple"
        )
    goal = objective(detector.config, samples, layout)
    run = {"seed": asked.seed, "epochs": asked.epochs, "batch_size": asked.batch_size, "past": past}
    return algorithm.train(goal, state, start(detector.config), detector.stats, features, **run)


def fit(config: Config, features: Features, like: Detector | None = None) -> Detector:
    """Fit the WT map and the velocity to features f (n, h, w, c) of good images (Algorithm 1).

    The WT map keeps the choices of ``like``, a detector of more images.
    """
    detector, state = init(config, features, like=like)
    if state is None:
        return detector
    for trained, _, _ in training(detector, state, features):
        detector = detector._replace(params=trained.params)
    return detector
