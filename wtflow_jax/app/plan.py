"""Time and memory of a run, before it starts: ``python -m wtflow_jax.plan --width 768``.

JAX counts parameters, operations and bytes of the programs that a run compiles, from shapes alone.
Seconds are a roofline: the longer of computing at ``efficiency`` of the peak (float32 as TF32 if
the device has it) and of moving the bytes that every step must move, plus sending to other devices.
``--batch`` is an experiment's ``--batch-size``, ``--devices 8 --model 2`` its ``--mesh 4 2``.
"""

import math
import sys
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import tyro
from rich.console import Console

from wtflow_jax.flow.types import Params, VelocityFn
from wtflow_jax.support.console import Table, show, status
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.helptext import flowing
from wtflow_jax.support.parts import check_ranges
from wtflow_jax.training.state import Objective, init_state, step
from wtflow_jax.velocities.unet import UNet

CARDS = 8, 12, 16, 24, 32, 48, 80, 141  # memory of common cards, GB
USABLE = 0.92  # share of it; CUDA takes a part, and JAX leaves a part
FLOAT = 4  # bytes of a float32: parameters, moments, gradients and features
# Operations whose results a step keeps for its gradients: convolutions, norms and activations. XLA
# recomputes what is cheap to compute from these.
KEPT = {"conv_general_dilated", "dot_general", "sub", "logistic"}
ENDS = 5  # maps beside x_t that the loss holds: x0, x1, their difference, v and its error
NODE = 8  # devices with direct links to one another
NETWORK = 50e9  # bytes per second and device between nodes: 400 Gbit/s


class Device(NamedTuple):
    """An accelerator, by its data sheet."""

    peak: dict[str, float]  # dense operations/s by precision; float32 is TF32 if it has that
    bandwidth: float  # of its memory, bytes per second
    memory: float  # bytes
    link: float  # to its neighbours, bytes per second and direction


DEVICES = {
    "rtx3090": Device({"float32": 35.6e12, "bfloat16": 71e12}, 936e9, 24e9, 32e9),
    "a100": Device({"float32": 156e12, "bfloat16": 312e12}, 2.04e12, 80e9, 300e9),
    "h100": Device({"float32": 494.7e12, "bfloat16": 989.4e12}, 3.35e12, 80e9, 450e9),
    "h200": Device({"float32": 494.7e12, "bfloat16": 989.4e12}, 4.8e12, 141e9, 450e9),
}


@dataclass(frozen=True)
class Settings:
    """A run to be planned; the defaults are the paper's."""

    width: int = 768
    """Width of the network."""
    channels: int = 1024
    """Channels of a feature map."""
    cells: tuple[int, int] = (16, 16)
    """Height and width of a feature map; 16 16 for images of 512 x 512 pixels."""
    images: int = 250
    """Training images."""
    epochs: int = 100
    """Passes over the training images."""
    batch: int = 8
    """Images per optimizer step, over all devices."""
    devices: int = 1
    """Number of devices."""
    model: int = 1
    """Devices that parameters and optimizer state are split over (the mesh's second axis)."""
    device: Literal["rtx3090", "a100", "h100", "h200"] = "h100"
    """Kind of device."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the computation."""
    efficiency: float = 0.5
    """Share of the peak that computing reaches."""
    resident: float = 0.5
    """Share of a device's memory for features, before and after the WT map; more are streamed."""

    RANGES: ClassVar = {"efficiency": (1e-9, 1), "resident": (0, 1)}
    COUNTS: ClassVar = ("channels", "cells", "images", "epochs", "batch", "devices", "model")
    RANGES |= dict.fromkeys(COUNTS, (1, None))

    def check(self) -> None:
        """Raise WTFlowError if a value is out of its range."""
        check_ranges(self)
        check_ranges(UNet(width=self.width))
        if self.devices % self.model:
            raise WTFlowError(f"--model {self.model}: does not divide --devices {self.devices}")
        if self.batch % self.devices:
            raise WTFlowError(f"--batch {self.batch}: give a multiple of --devices {self.devices}")


class Plan(NamedTuple):
    """Cost of a run; bytes and seconds are per device, operations of a step over all devices."""

    parameters: int
    forward_flops: float  # of one velocity for one map
    step_flops: float  # of a training step, all devices
    state_bytes: float  # parameters and AdamW's two moments: arguments and results of a step
    gradient_bytes: float  # and computed parameters, which share memory
    activation_bytes: float  # kept for the gradients, and both ends of the path
    feature_bytes: float  # of all training images, once; x0 takes as much again in training
    sent_bytes: float  # to other devices in a step
    seconds: dict[str, float]  # of a step: computing, memory, sending
    one_step_seconds: float  # inference of one map by one Euler step

    @property
    def step_seconds(self) -> float:
        """The longer of computing and memory, plus sending; without reading features from disk."""
        return max(self.seconds["computing"], self.seconds["memory"]) + self.seconds["sending"]


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


_floats = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)


def _residuals(velocity_fn: VelocityFn, params: Params, x: jax.ShapeDtypeStruct) -> int:
    """Return the bytes that one map's velocity keeps for its gradient, x included."""
    one = jax.checkpoint(velocity_fn, policy=lambda op, *_, **__: op.name in KEPT)

    def gradient(params: Params, t: Any, x: Any) -> Any:
        return jax.vjp(lambda params: jax.vmap(one, (None, 0, 0))(params, t, x), params)[1]

    def of(maps: int) -> int:
        return _bytes(jax.eval_shape(gradient, params, _floats((maps,)), _floats((maps, *x.shape))))

    # Without the parameters, which all maps share.
    return of(2) - of(1)


def plan(asked: Settings) -> Plan:
    """Return the cost of a run; WTFlowError if a value is out of its range."""
    asked.check()
    device, dtype = DEVICES[asked.device], jnp.dtype(asked.precision)
    x = _floats((*asked.cells, asked.channels))
    batch = _floats((asked.batch, *x.shape))
    index = jax.ShapeDtypeStruct((asked.batch,), jnp.int32)
    network = UNet(width=asked.width, precision=asked.precision)
    velocity_fn = network.velocity_fn()
    objective = Objective(velocity_fn, precision=asked.precision)
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = jax.eval_shape(partial(network.init, x0=batch), key)
    state = jax.eval_shape(partial(init_state, objective), params)
    # JAX counts no operations of GPU programs.
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        forward: Any = jax.jit(velocity_fn).lower(params, _floats(()), x)
        training: Any = step.lower(objective, state, batch, index, key)
        forward_flops, step_flops = (of.cost_analysis()["flops"] for of in (forward, training))
    whole = _bytes(params)
    cast = whole // FLOAT * dtype.itemsize
    share = asked.batch / asked.devices
    activations = share * (_residuals(velocity_fn, params, x) + ENDS * _bytes(x))
    # A loop carries float32 split into bfloat16 and a remainder, in addition to the given state.
    halved = whole if dtype.itemsize < FLOAT else 0
    # Parameters and moments are read and written; computed parameters are read twice, and written
    # once if gathered; their gradients and activations are written and read.
    moved = 6 * whole / asked.model + (4 + (asked.model > 1)) * cast + 2 * activations
    # Parts are gathered and gradients scattered along one axis, and summed along the other.
    copies = asked.devices // asked.model
    sent = 2 * cast * ((1 - 1 / asked.model) + (1 - 1 / copies) / asked.model)
    peak = asked.efficiency * device.peak[asked.precision]
    return Plan(
        parameters=whole // FLOAT,
        forward_flops=forward_flops,
        step_flops=step_flops,
        state_bytes=_bytes(state) / asked.model,
        gradient_bytes=max(cast, halved / asked.model),
        activation_bytes=activations,
        feature_bytes=asked.images * _bytes(x),
        sent_bytes=sent,
        seconds={
            "computing": step_flops / asked.devices / peak,
            "memory": moved / device.bandwidth,
            "sending": sent / (device.link if asked.devices <= NODE else NETWORK),
        },
        one_step_seconds=max(forward_flops / peak, cast / device.bandwidth),
    )


SIZES = {1e15: " P", 1e12: " T", 1e9: " G", 1e6: " M", 1e3: " k", 1.0: " "}
TIMES = {86_400.0: " days", 3_600.0: " h", 60.0: " min", 1.0: " s", 1e-3: " ms"}


def _units(value: float, unit: str, factors: dict[float, str] = SIZES) -> str:
    factor = next((factor for factor in factors if value >= factor), min(factors))
    return f"{value / factor:.3g}{factors[factor]}{unit}"


_duration = partial(_units, unit="", factors=TIMES)


def _smallest(needed: float) -> str:
    enough = [f"{size} GB" for size in CARDS if needed <= USABLE * size * 1e9]
    return enough[0] if enough else "no card is large enough"


def table(asked: Settings) -> Table:
    """Return a plan as a table."""
    found, device = plan(asked), DEVICES[asked.device]
    epoch = math.ceil(asked.images / asked.batch) * found.step_seconds
    total = found.state_bytes + found.gradient_bytes + found.activation_bytes
    if 2 * found.feature_bytes <= min(asked.resident * device.memory, device.memory - total):
        where = "features on the device"
    elif total <= device.memory:
        where = f"features streamed from disk, {_units(found.feature_bytes / epoch, 'B/s')} in all"
    elif found.gradient_bytes > device.memory:
        where = "too much on any number of devices: lower --width"
    else:
        where = "too much: lower --width or --batch, or raise --devices and --model"
    moved = found.seconds["memory"] * device.bandwidth
    bound = max(found.seconds, key=found.seconds.__getitem__)
    rows = {
        "parameters": f"{found.parameters / 1e6:,.1f} M",
        "one velocity": _units(found.forward_flops, "FLOP"),
        "a training step": _units(found.step_flops, "FLOP"),
        "parameters, moments": _units(found.state_bytes, "B"),
        "parameters computed with, gradients": _units(found.gradient_bytes, "B"),
        "activations": _units(found.activation_bytes, "B"),
        "features": _units(found.feature_bytes, "B"),
        "memory": f"{_units(total, 'B')} without features, of {_units(device.memory, 'B')}",
        "smallest card": _smallest(total),
        "moved, sent a step": f"{_units(moved, 'B')}, {_units(found.sent_bytes, 'B')}",
        "computing, moving, sending": ", ".join(map(_duration, found.seconds.values())),
        "a training step takes": f"{_duration(found.step_seconds)}, bound by {bound}",
        "an epoch": _duration(epoch),
        f"{asked.epochs} epochs": _duration(asked.epochs * epoch),
        "one map, one Euler step": _duration(found.one_step_seconds),
    }
    run = f"{asked.images:,} images, width {asked.width}, {asked.devices} × {asked.device}"
    roofline = f"a roofline at {asked.efficiency:.0%} of the peak; bytes and seconds per device"
    return Table(run, ("", asked.precision), list(rows.items()), (where, roofline))


def main() -> int:
    """Print a plan, and return the exit status."""

    def work() -> int:
        flowing([Settings], sys.argv[1:])
        asked = tyro.cli(Settings, prog="python -m wtflow_jax.plan", description=__doc__)
        show(table(asked), Console(highlight=False))
        return 0

    return status(work)
