"""Algorithm 1: what is trained on, going on from any step, features on disk, sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fields import PARAMS, gaussian_velocity
from jax import tree

from wtflow_jax.detector import algorithm
from wtflow_jax.detector.algorithm import Sampling, Start, sample, to_x0, train
from wtflow_jax.flow import ode, scores
from wtflow_jax.flow.loss import sample_keys
from wtflow_jax.flow.maps.norms import BatchNorm, Identity, LayerNorm
from wtflow_jax.support import shards
from wtflow_jax.training import schedule
from wtflow_jax.training.schedule import BEGINNING
from wtflow_jax.training.state import Objective, TrainState, init_state

EPOCHS, BATCH, SAMPLES = 3, 4, 10
STEPS = 3
"""Of an epoch: the third batch is filled up."""
TRACES = []


def affine(params, t, x):
    TRACES.append(1)
    return params["a"] * x + t * params["b"]


ARRAY = np.random.default_rng(0).normal(2, 3, (SAMPLES, 2, 3, 4)).astype(np.float32)
FEATURES = jnp.asarray(ARRAY)
START = Start(BatchNorm(), power=0.5, scale=2.0)
ROOT = jnp.sign(FEATURES) * jnp.abs(FEATURES) ** 0.5
STATS = START.wt.fit(ROOT)
OBJECTIVE = Objective(affine, rate=0.05, decay_at=(4, 7))


def fresh(objective=OBJECTIVE):
    return init_state(objective, {"a": jnp.zeros(4), "b": jnp.zeros((2, 3, 4))})


def run(state, features=FEATURES, objective=OBJECTIVE, start=START, **more):
    """Every state of a run, on the host, with its past."""
    settings = {"seed": 5, "epochs": EPOCHS, "batch_size": BATCH} | more
    taken = train(objective, state, start, STATS, features, **settings)
    return [(jax.device_get(state), past, whole) for state, past, whole in taken]


@pytest.fixture(scope="module")
def whole():
    return run(fresh())


def same(a, b):
    for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def losses_of(epoch):
    totals = [0.0, *(past.total for _, past, _ in epoch)]
    return np.diff(totals)


def without_seconds(past):
    return past._replace(seconds=0.0)


def test_a_run_is_epochs_of_steps(whole):
    assert [(len(past.losses), past.steps) for _, past, _ in whole] == [
        (epoch, step) for epoch in range(EPOCHS) for step in (1, 2, 3)
    ]
    assert [whole for *_, whole in whole] == [False, False, True] * EPOCHS
    losses = whole[-1][1].over().losses
    assert len(losses) == EPOCHS
    assert losses[0] == pytest.approx(losses_of(whole[:STEPS]).mean())
    assert int(whole[-1][0].moments[0].count) == EPOCHS * STEPS


@pytest.mark.parametrize("step", range(EPOCHS * STEPS))
def test_going_on_from_any_step_is_the_uninterrupted_run(whole, step):
    state, past, _ = whole[step]
    if past.steps == STEPS:
        past = past.over()
    rest = run(tree.map(jnp.asarray, state), past=past)
    assert len(rest) == EPOCHS * STEPS - step - 1
    for (found, found_past, _), (expected, expected_past, _) in zip(
        rest, whole[step + 1 :], strict=True
    ):
        same(found, expected)
        assert without_seconds(found_past) == without_seconds(expected_past)


def test_an_epoch_that_was_not_counted_yet_is_not_trained_again(whole):
    """Stopped after the last step of an epoch, before its end is recorded."""
    state, past, _ = whole[STEPS - 1]
    assert past.steps == STEPS
    rest = run(tree.map(jnp.asarray, state), past=past)
    same(rest[-1][0], whole[-1][0])
    assert rest[-1][1].losses == whole[-1][1].losses


@pytest.mark.parametrize("step", [None, 0, 2, 4])
def test_features_on_disk_are_features_in_memory(whole, step, tmp_path):
    parts = iter([iter([ARRAY[:4], ARRAY[4:7]]), iter([ARRAY[7:]])])
    stored = shards.write(tmp_path, ARRAY.shape[1:], parts)
    np.testing.assert_array_equal(stored.read(np.arange(SAMPLES)), FEATURES)
    if step is None:
        found, expected = run(fresh(), stored), whole
    else:
        state, past, whole_epoch = whole[step]
        past = past.over() if whole_epoch else past
        found = run(tree.map(jnp.asarray, state), stored, past=past)
        expected = whole[step + 1 :]
    for a, b in zip(found, expected, strict=True):
        same(a[0], b[0])
        assert without_seconds(a[1]) == without_seconds(b[1])


def test_the_map_comes_before_the_coupling():
    """Algorithm 1: x0 = WT(f) in line 2; x1, t, x_t = (1 − t)·x0 + t·x1 and the loss after it."""
    past = run(fresh())[0][1]
    index = jnp.asarray(schedule.epoch_order(5, 0, SAMPLES, BATCH)[0])
    _, key = jax.random.split(jax.random.key(5))
    x0 = 2.0 * (ROOT - STATS.mean) / jnp.sqrt(STATS.variance + 1e-5)
    losses = []
    for i, one in zip(index, sample_keys(jax.random.fold_in(key, 0), index), strict=True):
        _, target_key = jax.random.split(one)
        x1 = jax.random.normal(target_key, x0.shape[1:])
        # v is zero at first, whatever x_t.
        losses.append(float(jnp.mean(jnp.square(x1 - x0[i]))))
    assert past.first == pytest.approx(np.mean(losses), rel=1e-5)
    # Coupled before the map, the mapped mixture would have another loss.
    assert past.first != pytest.approx(float(np.mean(np.square(FEATURES)) + 1), rel=0.05)


def test_where_the_data_start():
    stats = LayerNorm().fit(FEATURES)
    x0 = to_x0(Start(LayerNorm(), scale=0.5), stats, FEATURES)
    norms = np.linalg.norm(np.reshape(x0, (SAMPLES, -1)), axis=1)
    # Lemma 5: √D.
    np.testing.assert_allclose(norms, 0.5 * np.sqrt(24), rtol=1e-5)
    np.testing.assert_array_equal(to_x0(Start(Identity()), (), FEATURES), FEATURES)
    root = to_x0(Start(Identity(), power=0.5), (), FEATURES)
    np.testing.assert_allclose(np.sign(root) * np.square(root), FEATURES, rtol=1e-5)


def test_another_seed_is_another_run(whole):
    other = run(fresh(), seed=6, epochs=1)
    assert other[0][1].first != whole[0][1].first
    same(run(fresh(), epochs=1)[0][0], whole[0][0])


def test_one_trace_for_the_whole_run(whole):
    jax.clear_caches()
    TRACES.clear()
    taken = train(OBJECTIVE, fresh(), START, STATS, FEATURES, seed=0, epochs=3, batch_size=BATCH)
    next(taken)
    first = len(TRACES)
    for _ in taken:
        pass
    assert first == len(TRACES) > 0


def test_the_state_is_given_away():
    """Two states are never held at once."""
    state = fresh()
    before = tree.leaves(state.params)
    next(train(OBJECTIVE, state, START, STATS, FEATURES, seed=0, epochs=1, batch_size=BATCH))
    assert all(leaf.is_deleted() for leaf in before)


def test_what_leads_nowhere_is_told():
    broken = TrainState({"a": jnp.full(4, jnp.nan), "b": jnp.zeros((2, 3, 4))}, fresh().moments)
    with pytest.raises(schedule.Diverged, match="the loss is nan in step 1 of epoch 1"):
        run(broken)
    wild = OBJECTIVE._replace(rate=30.0, decay_at=())
    with pytest.raises(schedule.Diverged, match="that of the first step, for 5 epochs"):
        run(fresh(wild), objective=wild, epochs=20)


def test_more_images_a_step_than_there_are():
    one = run(fresh(), batch_size=100, epochs=2)
    assert [whole for *_, whole in one] == [True, True]


def how(**more):
    given = {"steps": (1, 1), "t_start": 0.0, "residual": False} | more
    return Sampling(Start(Identity()), gaussian_velocity, ode.EULER, score=scores.density, **given)


X = np.random.default_rng(1).normal(PARAMS["mean"], PARAMS["scale"], (3, 2, 2, 3))
X = jnp.asarray(X, jnp.float32)


def test_sampling_ends_where_the_closed_form_does():
    """Gaussian data: the flow ends at the standardized sample, scored by Eq. 2 a cell."""
    found, _ = sample(how(steps=(400, 400)), PARAMS, (), X)
    ends = (X - np.asarray(PARAMS["mean"])) / PARAMS["scale"]
    density = 1 - np.exp(-np.square(ends) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(found, density.mean(-1), atol=2e-3)


def test_steps_of_detection_and_of_localization():
    both = sample(how(steps=(5, 1)), PARAMS, (), X)
    five, one = (sample(how(steps=(n, n)), PARAMS, (), X) for n in (5, 1))
    np.testing.assert_allclose(both[0], five[0], rtol=1e-6)
    np.testing.assert_allclose(both[1], one[1], rtol=1e-6)
    np.testing.assert_array_equal(*one)
    assert np.abs(both[0] - both[1]).max() > 1e-3


@pytest.mark.parametrize("t_start", [0.25, 0.6])
def test_a_later_start_and_its_residual(t_start):
    """One step from T: x0 + v, and with residual T·(x0 + v) = x0 − E[x0 | x_T]."""
    v = gaussian_velocity(PARAMS, t_start, (1 - t_start) * X)
    for residual, factor in ((False, 1.0), (True, t_start)):
        asked = how(t_start=t_start, residual=residual)
        found, _ = sample(asked, PARAMS, (), X)
        np.testing.assert_allclose(found, scores.cell_scores(factor * (X + v)), rtol=1e-5)
    mean, scale = PARAMS["mean"], PARAMS["scale"]
    gain = (1 - t_start) * scale**2 / ((1 - t_start) ** 2 * scale**2 + t_start**2)
    posterior = mean + gain * (1 - t_start) * (X - mean)
    np.testing.assert_allclose(t_start * (X + v), X - posterior, atol=1e-5)


def test_a_solver_of_higher_order_is_nearer():
    ends = (X - PARAMS["mean"]) / PARAMS["scale"]
    exact = scores.cell_scores(ends)
    euler, heun = (
        sample(how(steps=(4, 4))._replace(solver=solver), PARAMS, (), X)[0]
        for solver in (ode.EULER, ode.HEUN)
    )
    assert jnp.abs(heun - exact).max() < 0.5 * jnp.abs(euler - exact).max()


def test_the_beginning_has_nothing_behind_it():
    assert algorithm.BEGINNING is BEGINNING
    assert (BEGINNING.losses, BEGINNING.steps, BEGINNING.epoch) == ((), 0, 1)
