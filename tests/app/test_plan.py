"""The planned cost of a run, compared with XLA's analysis of the same programs."""

import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from wtflow_jax.app import plan
from wtflow_jax.training import state as training
from wtflow_jax.velocities.unet import UNet

pytestmark = pytest.mark.slow


SHAPES = [(16, 24, (5, 6)), (768, 1024, (16, 16))]
BATCH = 8
KEY = jax.random.key(0)


def lowered(width, channels, cells):
    """A velocity and a training step, neither run nor compiled."""
    network = UNet(width=width)
    velocity_fn = network.velocity_fn()
    objective = training.Objective(velocity_fn)
    x = jax.ShapeDtypeStruct((*cells, channels), jnp.float32)
    params = jax.eval_shape(lambda key: network.init(key, jnp.zeros((1, *x.shape))), KEY)
    state = jax.eval_shape(lambda params: training.init_state(objective, params), params)
    batch = jax.ShapeDtypeStruct((BATCH, *x.shape), jnp.float32)
    index = jax.ShapeDtypeStruct((BATCH,), jnp.int32)
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    step = training.step.lower(objective, state, batch, index, KEY)
    return params, jax.jit(velocity_fn).lower(params, scalar, x), step


@pytest.mark.long
@pytest.mark.parametrize(("width", "channels", "cells"), SHAPES)
def test_figures_are_xlas(width, channels, cells):
    params, forward, step = lowered(width, channels, cells)
    asked = plan.Settings(width=width, channels=channels, cells=cells, batch=BATCH)
    found = plan.plan(asked)
    assert found.parameters == sum(leaf.size for leaf in jax.tree.leaves(params))
    assert found.forward_flops == forward.cost_analysis()["flops"]
    assert found.step_flops == step.cost_analysis()["flops"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("width", "channels", "cells"),
    [
        pytest.param(32, 320, (16, 16), marks=pytest.mark.slow),
        pytest.param(16, 448, (9, 13), marks=pytest.mark.slow),
    ],
)
def test_bytes_are_xlas(width, channels, cells):
    _, _, step = lowered(width, channels, cells)
    memory = step.compile().memory_analysis()
    found = plan.plan(plan.Settings(width=width, channels=channels, cells=cells, batch=BATCH))
    batch = plan.FLOAT * BATCH * channels * math.prod(cells)
    assert found.state_bytes + batch == pytest.approx(memory.argument_size_in_bytes, rel=0.1)
    assert found.state_bytes == pytest.approx(memory.output_size_in_bytes, rel=0.1)
    # XLA's choice of what to keep.
    estimate = found.gradient_bytes + found.activation_bytes
    assert estimate == pytest.approx(memory.temp_size_in_bytes, rel=0.25)


MESH = """
import re, sys
import jax, jax.numpy as jnp
from wtflow_jax.app import plan
from wtflow_jax.training import sharding, state as training
from wtflow_jax.velocities.unet import UNet
data, model, width, channels, batch = map(int, sys.argv[1:])
network = UNet(width=width)
objective = training.Objective(network.velocity_fn(), layout=sharding.layout(data, model))
x0 = jnp.zeros((batch, 16, 16, channels))
state = training.init_state(objective, network.init(jax.random.key(0), x0))
arguments = x0, jnp.arange(batch), jax.random.key(0)
step = training.step.lower(objective, state, *arguments).compile()
sizes = {}
for shapes, kind in re.findall(r"= (.*?) (all-gather|all-reduce)\\(", step.as_text()):
    for dims in re.findall(r"f32\\[([\\d,]*)\\]", shapes):
        count = 1
        for n in dims.split(","):
            count *= int(n or 1)
        sizes[kind] = sizes.get(kind, 0) + 4 * count
memory = step.memory_analysis()
print(memory.output_size_in_bytes, memory.temp_size_in_bytes)
print(sizes.get("all-gather", 0), sizes.get("all-reduce", 0))
"""


@pytest.mark.long
def test_several_devices_hold_and_send_what_is_said():
    """On eight simulated CPU devices; compiled, not run."""
    data, model, width, channels, batch = 4, 2, 64, 256, 8
    command = [sys.executable, "-c", MESH, *map(str, (data, model, width, channels, batch))]
    flags = {"JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        command, env=os.environ | flags, capture_output=True, text=True, check=True
    )
    kept, temporaries, gathered, reduced = map(int, done.stdout.split())
    asked = plan.Settings(
        width=width, channels=channels, batch=batch, devices=data * model, model=model
    )
    found = plan.plan(asked)
    assert found.state_bytes == pytest.approx(kept, rel=0.1)
    # A CPU's XLA scatters no sums, and holds whole gradients beside the gathered parameters; for
    # GPUs benchmarks/gpu_compile.py says what is held and sent.
    assert found.gradient_bytes + found.activation_bytes < temporaries
    whole = plan.FLOAT * found.parameters
    assert gathered == pytest.approx(whole, rel=0.05)
    assert reduced == pytest.approx(whole, rel=0.05)
    assert found.sent_bytes == whole * (2 * (1 - 1 / 2) + 2 * (1 - 1 / 4) / 2)


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
        (["--width", "20"], "--width 20: give at least 8 and a multiple of 8"),
        (["--devices", "4", "--model", "3"], "--model 3: does not divide --devices 4"),
        (["--devices", "3"], "--batch 8: give a multiple of --devices 3"),
        (["--cells", "0", "4"], "--cells 0 4: give at least 1"),
        (["--resident", "2"], "--resident 2: give at least 0 and at most 1"),
        (["--efficiency", "2"], "--efficiency 2: give at least 1e-09 and at most 1"),
    ],
)
def test_command(flags, message):
    command = [sys.executable, "-m", "wtflow_jax.plan"]
    bad = subprocess.run([*command, *flags], capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stderr) == (1, f"error: {message}\n")


@pytest.mark.long
def test_what_does_not_fit_is_said():
    def where(**flags):
        return plan.table(plan.Settings(**flags)).notes[0]

    assert where() == "features on the device"
    # Half of the device's memory, as an experiment has it: 80 GB hold them twice all the same.
    assert where(images=25_000).startswith("features streamed from disk, ")
    assert where(images=25_000, resident=0.8) == "features on the device"
    assert where(width=2048).endswith("raise --devices and --model")
    assert where(width=4096).endswith("on any number of devices: lower --width")


@pytest.mark.slow
def test_the_command_shows_a_table():
    command = [sys.executable, "-m", "wtflow_jax.plan", "--width", "128", "--images", "1000000"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for row in ("parameters ", "22.5 M", "one map, one Euler step", "features streamed from disk"):
        assert row in shown
