"""A training step, its schedule, and loops of steps: one trace, and the same bits on a resume."""

import affine
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from affine import EPOCHS, STEPS, X0, copied, equal, fresh, last, objective
from hypothesis import given, settings
from hypothesis import strategies as st

from wtflow_jax.flow import targets
from wtflow_jax.training import schedule, state
from wtflow_jax.training.state import TrainState

KEY = jax.random.key(1)


@given(
    epochs=st.integers(1, 200),
    each=st.integers(1, 40),
    fractions=st.lists(st.integers(0, 100), max_size=4),
    rate=st.sampled_from([3e-3, 2e-4, 1.0]),
)
@settings(deadline=None, max_examples=25)
def test_the_rate_is_a_tenth_after_each_fraction_of_the_run(epochs, each, fractions, rate):
    """Optax's schedule by steps, against initial · 0.1^(decays so far) of each epoch."""
    decay_at = tuple(part / 100 for part in fractions)
    goal = state.Objective(
        affine.affine,
        rate=rate,
        decay_at=schedule.decay_steps(epochs, each, decay_at),
        weight_decay=1.0,
    )
    at = np.unique(np.clip([f * epochs // 100 + d for f in fractions for d in (-1, 0, 1)], 0, None))
    for epoch in at[at < epochs]:
        # No gradient: all that moves a parameter is the decay, at the step's rate.
        moments = goal.optimizer.init(jnp.ones(()))
        for step in (each * int(epoch), each * int(epoch) + each - 1):
            counted = jax.tree.map(
                lambda x, step=step: jnp.full_like(x, step) if x.dtype == jnp.int32 else x, moments
            )
            update, _ = goal.optimizer.update(jnp.zeros(()), counted, jnp.ones(()))
            decays = sum(epoch + 1e-9 >= part * epochs for part in decay_at)
            np.testing.assert_allclose(-update, rate * 0.1**decays, rtol=1e-6)


def test_adamw_decays_decoupled():
    goal = objective(decay_at=(), target=targets.point, weight_decay=0.5, rate=0.1)
    before = state.init_state(goal, {"a": jnp.ones(3), "b": jnp.zeros(3)})
    # On x0 = 0 and x1 = 0 the loss does not see a: only the decay moves it.
    after, _ = state.step(goal, before, jnp.zeros((2, 3)), jnp.arange(2), KEY)
    np.testing.assert_allclose(after.params["a"], 1 - 0.1 * 0.5, rtol=1e-6)


def test_a_step_is_adamw_s_first():
    """At its first step AdamW moves each parameter by the rate, against the gradient's sign."""
    goal = objective(decay_at=(), rate=0.1)
    after, loss = state.step(goal, fresh(goal), X0[:8], jnp.arange(8), KEY)
    # v = 0 at first, and x1 − x0 is about −x0 on average.
    np.testing.assert_allclose(after.params["b"], -0.1 * jnp.sign(X0.mean(0)), rtol=1e-3)
    assert loss == pytest.approx(1 + float(jnp.mean(X0**2)), rel=0.5)


def test_a_compiled_loop_takes_the_same_steps(monkeypatch):
    order = schedule.epoch_order(0, 0, 21, 4)
    host = list(state.steps(objective(), fresh(), X0, order, KEY))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(state, "LENGTH", 4)
    loop = list(state.steps(objective(), fresh(), X0, order, KEY))
    assert [len(losses) for _, losses in host] == [1] * 6
    assert [len(losses) for _, losses in loop] == [4, 2]
    losses = [[value for _, part in run for value in part] for run in (host, loop)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(host[-1][0]), jax.tree.leaves(loop[-1][0]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    # From the middle, as after a stop.
    middle, _ = next(state.steps(objective(), fresh(), X0, order, KEY))
    resumed = last_of(state.steps(objective(), copied(middle), X0, order, KEY, 4))
    assert equal(resumed, loop[-1][0])


def last_of(run):
    *_, (found, _) = run
    return found


def test_one_trace_for_the_whole_run():
    jax.clear_caches()
    affine.TRACES.clear()
    run = affine.train(fresh())
    next(run)
    first = len(affine.TRACES)
    last(run)
    assert first > 0
    assert len(affine.TRACES) == first


def test_training_finds_the_mean_of_the_data():
    goal = objective(60, (0.6, 0.8))
    found, past = last(affine.train(fresh(goal), goal=goal, epochs=60))
    # The best affine v has no bias left at the mean path: v((1 − t)·m, t) averages to −m.
    residual = found.params["a"] * 0.5 * X0.mean(0) + found.params["b"] + X0.mean(0)
    assert float(jnp.abs(residual).max()) < 0.3
    assert past.loss < 1.2


@pytest.mark.parametrize("steps", [1, 4, 6, 9])
def test_stopped_and_gone_on_with_bit_for_bit(steps):
    whole, past = last(affine.train(fresh()))
    run = affine.train(fresh())
    for _ in range(steps):
        stopped, behind, over = next(run)
    assert over == (steps == STEPS)
    assert STEPS * len(behind.losses) + behind.steps == steps
    resumed, at_end = last(affine.train(copied(stopped), past=behind))
    assert equal(resumed, whole)
    assert at_end.losses == past.losses
    assert len(past.losses) == EPOCHS - 1


def test_a_loss_that_is_not_finite_ends_training():
    lost = TrainState({"a": jnp.full(3, jnp.nan), "b": jnp.zeros(3)}, fresh().moments)
    with pytest.raises(schedule.Diverged, match="the loss is nan in step 1 of epoch 1"):
        next(affine.train(lost))


def test_a_loss_above_that_of_the_first_step_for_long_ends_training():
    # AdamW at such a rate moves each parameter by about the rate at each step.
    goal, passed = objective(20, (), rate=30.0), []
    with pytest.raises(schedule.Diverged, match=r"that of the first step, for 5 epochs and is"):
        passed.extend(affine.train(fresh(goal), goal=goal, epochs=20))
    assert sum(whole for *_, whole in passed) == 5
    # One that learns nothing is no such thing.
    goal = objective(20, (), rate=1e-12)
    x0 = jnp.tile(X0, 100)
    assert len(list(affine.train(fresh(goal, 300), x0, goal=goal, epochs=20))) == 20 * STEPS
