"""What is fitted to one category: a WT map and a velocity field (Algorithm 1, training)."""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wtflow_jax.detector.config import Config
from wtflow_jax.flow import paths, targets, transport
from wtflow_jax.flow.types import Features, Params, PRNGKey, Sample, Stored, Time, VelocityFn
from wtflow_jax.support.compilation import RUN_ONCE
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.training import schedule, sharding, train
from wtflow_jax.velocities import exact, patch, unet

BATCH = 16
IN_MEMORY = (
    "needs all training features in memory; give a higher --resident, fewer images, or another"
)


class Start(NamedTuple):
    """How features become x0; hashable, a static argument.

    Attributes:
        wt: name of the WT map.
        power: exponent of the features before the map.
        scale: factor on x0 after it.
    """

    wt: str
    power: float = 1.0
    scale: float = 1.0


class Detector(NamedTuple):
    """A WT map and a velocity field, fitted to one category.

    Attributes:
        velocity_fn: ``velocity_fn(params, t, x) -> v`` for one feature map.
        params: its parameters.
        start: the WT map and what goes with it.
        stats: the map's statistics, of the training features.
    """

    velocity_fn: VelocityFn
    params: Params
    start: Start
    stats: transport.Stats


NETWORKS = {"unet": unet, "patch": patch}
"""What is trained, by name: ``velocity`` and ``init`` of each."""


@lru_cache
def behind_norm(velocity_fn: VelocityFn) -> VelocityFn:
    """Return a velocity that sees LN(x_t) in place of x_t: "std" in Table XI, no WT map."""
    norm = transport.MAPS["layer_norm"]

    def normed(params: Params, t: Time, x: Sample) -> Sample:
        return velocity_fn(params, t, norm.apply((), x[None])[0])

    return normed


def _velocity(config: Config) -> VelocityFn:
    if config.velocity == "exact":
        return exact.velocity(config.neighbourhood)
    dtype = None if config.precision == "float32" else jnp.dtype(config.precision)
    velocity_fn = NETWORKS[config.velocity].velocity(config.width, config.position, dtype)
    return behind_norm(velocity_fn) if config.input_norm else velocity_fn


@lru_cache
def objective(config: Config) -> train.Objective:
    """Return what a config trains; the same object at each call, so that it compiles once."""
    return train.Objective(
        _velocity(config),
        targets.TARGETS[config.target],
        paths.TIME_LAWS[config.time_law],
        config.weight_decay,
        sharding.layout(*config.mesh),
    )


@partial(jax.jit, static_argnums=(0, 2, 3, 4, 5), compiler_options=RUN_ONCE)
def _init(
    network: str,
    key: PRNGKey,
    shape: tuple[int, int, int],
    width: int,
    position: bool,
    layout: sharding.Layout,
) -> Params:
    return layout.keep(NETWORKS[network].init(key, shape, width, position))


def refuse_stored(config: Config) -> None:
    """Raise WTFlowError where a config needs all training features in memory."""
    if config.velocity == "exact":
        raise WTFlowError(f"--velocity exact: {IN_MEMORY} --velocity")
    if transport.MAPS[config.wt].fit_batches is None:
        raise WTFlowError(f"--wt {config.wt}: {IN_MEMORY} --wt")


def _statistics(config: Config, features: Features | Stored) -> transport.Stats:
    the_map = transport.MAPS[config.wt]
    options = {"alpha": config.alpha, "rank": config.rank} if config.wt == "whiten" else {}
    if not isinstance(features, Stored):
        return the_map.fit(transport.power(features, config.power), **options)
    assert the_map.fit_batches is not None
    rows = np.array_split(np.arange(features.shape[0]), -(-features.shape[0] // BATCH))
    maps = (jnp.asarray(features.read(row)) for row in rows)
    stats = the_map.fit_batches(transport.power(batch, config.power) for batch in maps)
    return objective(config).layout.replicate(stats)


def init(config: Config, features: Features | Stored) -> tuple[Detector, train.TrainState | None]:
    """Fit the WT map, and draw initial parameters or keep the patches of the exact field.

    Args:
        config: the run's.
        features: of the training images, (n, h, w, c), before the WT map.

    Returns:
        A detector and the state to train it from; None where there is nothing to train.

    Raises:
        WTFlowError: features that are not in memory, and a config that needs them there.
    """
    if isinstance(features, Stored):
        refuse_stored(config)
    key, _ = jax.random.split(jax.random.key(config.seed))
    _, h, w, c = features.shape
    stats = _statistics(config, features)
    start = Start(config.wt, config.power, config.scale)
    detector = Detector(_velocity(config), None, start, stats)
    if config.velocity == "exact":
        assert not isinstance(features, Stored)
        bank = exact.bank(
            apply_wt(detector, features),
            key,
            size=config.patches,
            coreset=config.coreset,
            neighbourhood=config.neighbourhood,
        )
        return detector._replace(params=bank), None
    layout = objective(config).layout
    params = _init(config.velocity, key, (h, w, c), config.width, config.position, layout)
    return detector._replace(params=params), train.init_state(objective(config), params)


def restored(config: Config, params: Params, stats: transport.Stats) -> Detector:
    """Return the detector that a config fitted, of its parameters and statistics."""
    return Detector(_velocity(config), params, Start(config.wt, config.power, config.scale), stats)


def local(config: Config, detector: Detector) -> Detector:
    """Return a detector whole on one device of this process; every process must call it."""
    layout = objective(config).layout
    return detector._replace(
        params=layout.local(detector.params), stats=layout.local(detector.stats)
    )


def apply_wt(detector: Detector, features: Features) -> Features:
    """Return x0, the features after the detector's WT map."""
    return to_x0(detector.start, detector.stats, features)


@partial(jax.jit, static_argnames="start")
def to_x0(start: Start, stats: transport.Stats, features: Features) -> Features:
    """Return x0 of a map and its statistics alone; pure, see ``apply_wt``."""
    x0 = transport.MAPS[start.wt].apply(stats, transport.power(features, start.power))
    return x0 if start.scale == 1 else start.scale * x0


def epochs(
    config: Config,
    detector: Detector,
    state: train.TrainState,
    features: Features | Stored,
    *,
    past: schedule.Past = schedule.BEGINNING,
    advance: train.Advance = train.silent,
    stop: Callable[[], bool] = train.never,
) -> Iterator[tuple[Detector, train.Epoch]]:
    """Train, and stop after each epoch with the detector as it is then.

    Args:
        config: the run's.
        detector: from ``init``.
        state: from ``init`` or a checkpoint; donated.
        features: of the training images, (n, h, w, c), before the WT map.
        past: what ``state`` has behind it.
        advance: called with (steps taken, loss so far in the epoch).
        stop: asked after each step.

    Yields:
        The detector and the epoch's outcome; the next epoch reuses their memory.

    Raises:
        WTFlowError: a batch cannot be split over the devices, or training diverges.
    """
    goal = objective(config)
    batch, devices = min(config.batch_size, features.shape[0]), goal.layout.devices
    if batch % devices:
        raise WTFlowError(
            f"{batch} images a step, {features.shape[0]} to train on: no multiple of the {devices} "
            f"devices of --mesh; give fewer devices, or a --batch-size of {devices} or a multiple"
        )

    def stream(maps: Stored) -> train.Streamed:
        def batches(order: schedule.Order) -> Iterator[Features]:
            read = maps.batches(order[:, goal.layout.rows(batch)])
            return (apply_wt(detector, goal.layout.assemble(rows, batch)) for rows in read)

        return train.Streamed(maps.shape[0], batches)

    for epoch in train.train(
        goal,
        state,
        stream(features) if isinstance(features, Stored) else apply_wt(detector, features),
        key=jax.random.split(jax.random.key(config.seed))[1],
        seed=config.seed,
        epochs=config.epochs,
        batch_size=config.batch_size,
        initial_rate=config.learning_rate,
        decay_at=config.decay_at,
        past=past,
        advance=advance,
        stop=stop,
    ):
        yield detector._replace(params=epoch.state.params), epoch


def fit(config: Config, features: Features) -> Detector:
    """Fit the WT map and the velocity field (Algorithm 1, training).

    Args:
        config: the run's.
        features: of good images, (n, h, w, c).
    """
    detector, state = init(config, features)
    if state is not None:
        *_, (detector, _) = epochs(config, detector, state, features)
    return detector
