"""What a run is said to take, against XLA's own analysis of the same programs."""

import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from wtflow_jax import plan, train, unet
from wtflow_jax.errors import WTFlowError

SHAPES = [(16, 24, (5, 6)), (64, 256, (16, 16)), (128, 1024, (16, 16)), (768, 1024, (16, 16))]
BATCH = 8


def lowered(width, channels, cells):
    """A velocity and a training step, neither run nor compiled."""
    velocity_fn = unet.velocity(width)
    objective = train.Objective(velocity_fn)
    x = jax.ShapeDtypeStruct((*cells, channels), jnp.float32)
    params = jax.eval_shape(lambda key: unet.init(key, x.shape, width), jax.random.key(0))
    state = jax.eval_shape(lambda params: train.init_state(objective, params), params)
    batch = jax.ShapeDtypeStruct((BATCH, *x.shape), jnp.float32)
    index = jax.ShapeDtypeStruct((BATCH,), jnp.int32)
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    step = train.step.lower(objective, state, batch, index, key, scalar)
    return params, jax.jit(velocity_fn).lower(params, scalar, x), step


@pytest.mark.parametrize(("width", "channels", "cells"), SHAPES)
def test_formulas_are_xlas(width, channels, cells):
    params, forward, step = lowered(width, channels, cells)
    asked = plan.Settings(width=width, channels=channels, cells=cells, batch=BATCH)
    found = plan.plan(asked)
    assert found.parameters == sum(leaf.size for leaf in jax.tree.leaves(params))
    assert found.forward_flops == pytest.approx(forward.cost_analysis()["flops"], rel=0.1)
    assert found.step_flops == pytest.approx(step.cost_analysis()["flops"], rel=0.1)


def test_bytes_are_xlas():
    width, channels, cells = 16, 64, (16, 16)
    _, _, step = lowered(width, channels, cells)
    memory = step.compile().memory_analysis()
    found = plan.plan(plan.Settings(width=width, channels=channels, cells=cells, batch=BATCH))
    batch = plan.FLOAT * BATCH * channels * math.prod(cells)
    assert found.state_bytes + batch == pytest.approx(memory.argument_size_in_bytes, rel=0.1)
    assert found.state_bytes == pytest.approx(memory.output_size_in_bytes, rel=0.1)
    # Not a formula to be held: XLA's choice of what to keep. Printed for the documentation.
    estimate = found.gradient_bytes + found.activation_bytes
    print(f"temporaries: {memory.temp_size_in_bytes:.3g} B, the estimate {estimate:.3g} B")


def test_more_devices_take_less_each():
    one = plan.plan(plan.Settings(batch=64))
    eight = plan.plan(plan.Settings(batch=64, devices=8, model=8))
    assert eight.state_bytes == one.state_bytes / 8
    assert eight.activation_bytes == one.activation_bytes / 8
    assert eight.step_flops == one.step_flops
    assert one.sent_bytes == 0 < eight.sent_bytes
    assert eight.step_seconds < one.step_seconds


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--width", "20"], "--width 20: give a positive multiple of 8"),
        (["--devices", "4", "--model", "3"], "--model 3: does not divide --devices 4"),
        (["--devices", "3"], "--batch 8: is no multiple of --devices 3"),
        (["--cells", "0", "4"], "--cells 0 4: give at least 1 1"),
        (["--efficiency", "2"], "--efficiency 2.0: give above 0 and at most 1"),
    ],
)
def test_command(flags, message):
    command = [sys.executable, "-m", "wtflow_jax.plan"]
    bad = subprocess.run([*command, *flags], capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stderr) == (1, f"error: {message}\n")


def test_what_does_not_fit_is_said():
    def memory(**flags):
        shown = plan.table(plan.Settings(**flags))
        return dict(zip(*(column.cells for column in shown.columns), strict=True))["memory"]

    assert memory().endswith("features on the device")
    assert "features streamed from disk, " in memory(images=10**6)
    assert "too much" in memory(width=4096)


def test_bad_width():
    with pytest.raises(WTFlowError, match="--width 0"):
        plan.plan(plan.Settings(width=0))
