import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import tree

from wtflow_jax.detector import detector, inference
from wtflow_jax.detector.config import Config
from wtflow_jax.flow import scores, targets
from wtflow_jax.training import schedule, train

TRACES = []


def affine(params, t, x):
    TRACES.append(1)
    return params["a"] * x + params["b"]


def objective():
    return train.Objective(affine, targets.gaussian, weight_decay=0.0)


def fresh():
    params = {"a": jnp.zeros(3), "b": jnp.zeros(3)}
    return train.init_state(objective(), params)


X0 = jnp.asarray(np.random.default_rng(0).normal([1, -2, 0.5], 0.1, (21, 3)), jnp.float32)
SETTINGS = {
    "key": jax.random.key(1),
    "seed": 0,
    "epochs": 6,
    "batch_size": 4,
    "initial_rate": 0.05,
    "decay_at": (0.5,),
}


def last(epochs):
    *_, epoch = epochs
    return epoch


def equal(a, b):
    return all(bool((x == y).all()) for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True))


def test_the_schedule_is_a_tenth_at_each_fraction():
    rates = [
        schedule.learning_rate(e, 100, 2e-4, (0.25, 0.5, 0.75)) for e in (0, 24, 25, 50, 75, 99)
    ]
    np.testing.assert_allclose(rates, [2e-4, 2e-4, 2e-5, 2e-6, 2e-7, 2e-7])


@pytest.mark.parametrize(("samples", "batch", "steps"), [(21, 4, 6), (3, 8, 1), (8, 8, 1)])
def test_every_sample_comes_and_the_last_batch_is_filled(samples, batch, steps):
    order = schedule.epoch_order(0, 2, samples, batch)
    assert order.shape == (steps, min(batch, samples))
    assert set(order.ravel()) == set(range(samples))
    assert sorted(order.ravel()[:samples]) == list(range(samples))
    np.testing.assert_array_equal(order, schedule.epoch_order(0, 2, samples, batch))
    if samples > 3:
        assert (order != schedule.epoch_order(0, 3, samples, batch)).any()


def test_steps_on_the_device_equal_steps_from_the_host():
    host = last(train.train(objective(), fresh(), X0, on_device=False, **SETTINGS))
    device = last(train.train(objective(), fresh(), X0, on_device=True, **SETTINGS))
    for a, b in zip(tree.leaves(host.state), tree.leaves(device.state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(host.loss, device.loss, rtol=1e-5)


@pytest.mark.parametrize("on_device", [False, True])
def test_one_trace_for_the_whole_run(on_device):
    jax.clear_caches()
    TRACES.clear()
    epochs = train.train(objective(), fresh(), X0, on_device=on_device, **SETTINGS)
    next(epochs)
    first = len(TRACES)
    last(epochs)
    assert first > 0
    assert len(TRACES) == first


def test_training_finds_the_mean_of_the_data():
    settings = SETTINGS | {"epochs": 60, "decay_at": (0.6, 0.8)}
    epoch = last(train.train(objective(), fresh(), X0, **settings))
    params = epoch.state.params
    # The best affine v has no bias left at the mean path: v((1 − t)·m, t) averages to −m.
    residual = params["a"] * 0.5 * X0.mean(0) + params["b"] + X0.mean(0)
    assert float(jnp.abs(residual).max()) < 0.3
    assert epoch.loss < 1.2


def test_adamw_decays_decoupled():
    decayed = train.Objective(affine, targets.point, weight_decay=0.5)
    state = train.init_state(decayed, {"a": jnp.ones(3), "b": jnp.zeros(3)})
    # On x0 = 0 and x1 = 0 the loss does not see a: only the decay moves it.
    state, _ = train.step(
        decayed, state, jnp.zeros((2, 3)), jnp.arange(2), jax.random.key(0), jnp.float32(0.1)
    )
    np.testing.assert_allclose(state.params["a"], 1 - 0.1 * 0.5, rtol=1e-6)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("steps", [1, 4, 9])
def test_stopped_within_an_epoch_and_gone_on_with(on_device, steps):
    def run(state, **more):
        return train.train(objective(), state, X0, on_device=on_device, **SETTINGS, **more)

    whole = last(run(fresh()))
    asked = iter([False] * (steps - 1) + [True])
    epoch = last(run(fresh(), stop=lambda: next(asked)))
    assert not epoch.whole
    # A compiled loop takes 1, 2, 4 ... steps between two looks.
    assert on_device or 6 * len(epoch.past.losses) + epoch.past.steps == steps
    resumed = last(run(epoch.state, past=epoch.past))
    assert equal(resumed.state, whole.state)
    assert resumed.past[:3] == whole.past[:3]


def test_an_epoch_that_was_not_counted_yet_is_not_trained_again():
    epochs = train.train(objective(), fresh(), X0, **SETTINGS)
    first = next(epochs)
    again = next(train.train(objective(), first.state, X0, past=first.past, **SETTINGS))
    assert again.whole
    assert again.past[:3] == first.past[:3]
    assert equal(again.state, first.state)


def test_a_loss_that_is_not_finite_ends_training():
    state = train.TrainState({"a": jnp.full(3, jnp.nan), "b": jnp.zeros(3)}, fresh().moments)
    with pytest.raises(schedule.Diverged, match="the loss is nan in step 1 of epoch 1"):
        next(train.train(objective(), state, X0, **SETTINGS))


def test_a_loss_above_that_of_the_first_step_for_long_ends_training():
    # AdamW at such a rate moves each parameter by about the rate at each step.
    settings = SETTINGS | {"epochs": 20, "initial_rate": 30.0, "decay_at": ()}
    run, epochs = train.train(objective(), fresh(), X0, **settings), []
    with pytest.raises(schedule.Diverged, match=r"that of the first step, for 5 epochs and is"):
        epochs.extend(run)
    # One that learns nothing is no such thing.
    settings = SETTINGS | {"epochs": 20, "initial_rate": 1e-12}
    x0 = jnp.tile(X0, 100)
    state = train.init_state(objective(), {"a": jnp.zeros(300), "b": jnp.zeros(300)})
    assert len(list(train.train(objective(), state, x0, **settings))) == 20


CONFIG = Config(width=8, epochs=2, batch_size=4, steps_det=3)


@pytest.fixture(scope="module")
def fitted():
    x = np.random.default_rng(0).normal(1, 2, (6, 4, 4, 3)).astype(np.float32)
    return detector.fit(CONFIG, jnp.asarray(x)), x


@pytest.mark.parametrize("velocity", ["unet", "patch"])
def test_weights_rounded_once_are_those_rounded_at_each_call(velocity):
    config = Config(velocity=velocity, width=8, epochs=2, batch_size=4, precision="bfloat16")
    x = jax.random.normal(jax.random.key(0), (6, 4, 4, 16))
    fitted = detector.fit(config, x)
    rounded = inference.rounded(fitted.params, config)
    assert {leaf.dtype for leaf in jax.tree.leaves(rounded) if leaf.ndim > 1} == {
        jnp.dtype("bfloat16")
    }
    how = inference.settings(fitted, config)
    each, once = (inference.cells(how, p, fitted.stats, x)[0] for p in (fitted.params, rounded))
    np.testing.assert_array_equal(each, once)
    plain = dataclasses.replace(config, precision="float32")
    assert inference.rounded(fitted.params, plain) is fitted.params


def test_predictions_do_not_depend_on_the_batch(fitted):
    fitted, x = fitted
    many = np.concatenate([x, x, x])
    together = inference.predict_cells(fitted, many, CONFIG)
    alone = inference.predict_cells(fitted, many[7:8], CONFIG)
    np.testing.assert_allclose(together.detection[7], alone.detection[0], atol=1e-5)
    assert together.localization.shape == (18, 4, 4)
    assert np.abs(together.detection - together.localization).max() > 1e-4


def test_predicting_is_cells_then_the_image(fitted):
    fitted, x = fitted
    upsampling = scores.upsampling((128, 96), (4, 4), 32, 0.0)
    whole = inference.predict(fitted, x, CONFIG, upsampling)
    assert whole.scores.shape == (6,)
    assert whole.maps.shape == (6, 128, 96)
    # At a cell's centre the map is the cell; the image score is the mean of the top pixels.
    cells = inference.predict_cells(fitted, x, CONFIG)
    np.testing.assert_allclose(whole.maps[:, 64, 32], cells.localization[:, 2, 1], atol=1e-6)
    assert (whole.scores <= cells.detection.max((1, 2)) + 1e-6).all()
    assert (whole.scores >= cells.detection.mean((1, 2))).all()


def test_fitting_again_gives_the_same_bits(fitted):
    fitted, x = fitted
    again = detector.fit(CONFIG, jnp.asarray(x))
    assert equal(again.params, fitted.params)
    other = detector.fit(Config(width=8, epochs=2, batch_size=4, seed=1), jnp.asarray(x))
    assert not equal(other.params, fitted.params)


def test_a_norm_in_front_of_the_network_is_no_wt_map():
    config = Config(velocity="patch", width=16, input_norm=True)
    velocity_fn = detector.objective(config).velocity_fn
    assert detector.objective(config).velocity_fn is velocity_fn
    features = jnp.asarray(np.random.default_rng(0).normal(2, 3, (2, 4, 5, 6)), jnp.float32)
    fitted, _ = detector.init(config, features)
    x, t = features[0], jnp.float32(0.4)
    seen = (x - x.mean()) / jnp.sqrt(x.var() + 1e-5)
    plain = detector.init(dataclasses.replace(config, input_norm=False), features)[0]
    # Some parameters that are not zero in the last layer.
    params = jax.tree.map(lambda p: p + 0.1, fitted.params)
    np.testing.assert_allclose(
        velocity_fn(params, t, x), plain.velocity_fn(params, t, seen), rtol=1e-4, atol=1e-5
    )
