"""A training run of milliseconds: an affine velocity on 21 points in space."""

import jax
import jax.numpy as jnp
import numpy as np

from wtflow_jax.detector import algorithm
from wtflow_jax.detector.algorithm import Start
from wtflow_jax.flow.maps.norms import Identity
from wtflow_jax.training.schedule import decay_steps
from wtflow_jax.training.state import Objective, TrainState, init_state

TRACES = []
EPOCHS, BATCH = 6, 4
STEPS = 6
"""Of an epoch: 21 points in batches of 4."""
X0 = jnp.asarray(np.random.default_rng(0).normal([1, -2, 0.5], 0.1, (21, 3)), jnp.float32)


def affine(params, t, x):
    TRACES.append(1)
    return params["a"] * x + params["b"]


def objective(epochs=EPOCHS, decay_at=(0.5,), **more):
    """The objective towards a Gaussian, with one shared velocity function."""
    settings = {"rate": 0.05, "weight_decay": 0.0} | more
    return Objective(affine, decay_at=decay_steps(epochs, STEPS, decay_at), **settings)


def fresh(goal=None, d=3):
    """The state before the first step; a step donates its memory."""
    return init_state(goal or objective(), {"a": jnp.zeros(d), "b": jnp.zeros(d)})


def train(state, x0=X0, goal=None, epochs=EPOCHS, **more):
    """Algorithm 1 on the points."""
    asked = {"seed": 0, "epochs": epochs, "batch_size": BATCH} | more
    return algorithm.train(goal or objective(), state, Start(Identity()), (), x0, **asked)


def last(run):
    *_, (state, past, _) = run
    return state, past


def copied(state):
    """A copy of a state with its own memory."""
    return TrainState(*jax.tree.map(jnp.array, tuple(state)))


def equal(a, b):
    """Whether two trees hold the same numbers, bit for bit."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(bool((x == y).all()) for x, y in pairs)
