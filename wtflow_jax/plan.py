"""What a run will take, before it is started: ``python -m wtflow_jax.plan --width 768``.

Everything follows from formulas of the U-Net's layers, which tests hold against XLA: parameters
exactly, floating-point operations against the cost analysis of the unoptimised program, bytes
against its memory analysis. Seconds are a roofline: the longer of computing at ``efficiency`` of
the peak (float32 as TF32 where there are units for it) and of moving the bytes that every step
must move, and after it sending what other devices need. ``--batch`` is an experiment's
``--batch-size``, ``--devices 8 --model 2`` its ``--mesh 4 2``.
"""

import math
import sys
from dataclasses import dataclass
from typing import Literal, NamedTuple

import tyro
from rich.console import Console
from rich.table import Table

from wtflow_jax.errors import WTFlowError

FLOAT = 4
"""Bytes of a float32: parameters, moments, gradients and features."""
BYTES = {"float32": 4, "bfloat16": 2}
"""Of a number that is computed with."""


class Convolution(NamedTuple):
    """A convolution, or with one cell a dense layer.

    Attributes:
        size: of the kernel, size × size.
        before: channels it takes.
        after: channels it gives.
        height: of the map.
        width: of the map.
    """

    size: int
    before: int
    after: int
    height: int = 1
    width: int = 1

    @property
    def parameters(self) -> int:
        """Kernel and bias."""
        return (self.size**2 * self.before + 1) * self.after

    @property
    def flops(self) -> int:
        """Of one map, a product and a sum each; what the kernel sees of the padding is not one."""
        beyond = sum(range(self.size // 2 + 1)) * 2
        rows, columns = (max(self.size * n - beyond, n) for n in (self.height, self.width))
        return 2 * rows * columns * self.before * self.after


class Network(NamedTuple):
    """What a U-Net is made of.

    Attributes:
        convolutions: and dense layers.
        normed: elements that a group norm and a SiLU pass, of one map.
        parameters: all of them.
    """

    convolutions: tuple[Convolution, ...]
    normed: int
    parameters: int

    @property
    def flops(self) -> int:
        """Of one velocity; norms and activations, some 20 an element, included."""
        return sum(layer.flops for layer in self.convolutions) + 20 * self.normed


FIRST = 2
"""Place among the convolutions of the one that takes a feature map."""


def network(width: int, channels: int, cells: tuple[int, int]) -> Network:
    """Return the layers of ``wtflow_jax.unet.UNet``.

    Args:
        width: base width B.
        channels: C of a feature map.
        cells: its height and width.
    """
    b = width
    levels = [cells]
    for _ in range(2):
        levels.append((math.ceil(levels[-1][0] / 2), math.ceil(levels[-1][1] / 2)))
    blocks = [
        *((b, 2 * b, 0), (2 * b, 2 * b, 0), (2 * b, 4 * b, 1), (4 * b, 4 * b, 1)),
        (4 * b, 4 * b, 2),
        *((8 * b, 2 * b, 1), (2 * b, 2 * b, 1), (4 * b, b, 0), (b, b, 0)),
    ]
    found = [
        Convolution(1, b // 2, 4 * b),
        Convolution(1, 4 * b, b),
        Convolution(3, channels, b, *cells),
        Convolution(1, b, channels, *cells),
    ]
    normed = scales = 0
    for before, after, level in blocks:
        found += [
            Convolution(3, before, after, *levels[level]),
            Convolution(1, b, after),
            Convolution(3, after, after, *levels[level]),
        ]
        if before != after:
            found.append(Convolution(1, before, after, *levels[level]))
        normed += 2 * after * math.prod(levels[level])
        scales += 2 * 2 * after
    return Network(tuple(found), normed, scales + sum(layer.parameters for layer in found))


class Device(NamedTuple):
    """An accelerator by its maker's data sheet, dense operations.

    Attributes:
        peak: operations a second by precision; float32 runs as TF32 in matrix units.
        bandwidth: of its memory, bytes a second.
        memory: bytes.
        link: to its neighbours, bytes a second and direction.
    """

    peak: dict[str, float]
    bandwidth: float
    memory: float
    link: float


NODE = 8
"""Devices that are linked to one another."""
NETWORK = 50e9
"""Bytes a second and device between nodes: 400 Gbit/s."""
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
    """Its height and width; 16 16 for images of 512 x 512 pixels."""
    images: int = 250
    """Training images."""
    epochs: int = 100
    """Passes over them."""
    batch: int = 8
    """Images an optimizer step, over all devices."""
    devices: int = 1
    """How many."""
    model: int = 1
    """Over how many of them parameters and optimizer state are split (the mesh's second axis)."""
    device: Literal["rtx3090", "a100", "h100", "h200"] = "h100"
    """What kind."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What is computed with."""
    efficiency: float = 0.5
    """Share of the peak that computing reaches."""
    resident: float = 0.5
    """Share of a device's memory for features, before and after the WT map; more are streamed."""

    def check(self) -> None:
        """Raise WTFlowError if a value is out of its range."""
        for name in ("channels", "images", "epochs", "batch", "devices", "model"):
            if getattr(self, name) < 1:
                raise WTFlowError(f"--{name} {getattr(self, name)}: give at least 1")
        if min(self.cells) < 1:
            raise WTFlowError(f"--cells {self.cells[0]} {self.cells[1]}: give at least 1 1")
        if self.width < 8 or self.width % 8:
            raise WTFlowError(f"--width {self.width}: give a positive multiple of 8")
        if self.devices % self.model:
            raise WTFlowError(f"--model {self.model}: does not divide --devices {self.devices}")
        if self.batch % self.devices:
            raise WTFlowError(f"--batch {self.batch}: is no multiple of --devices {self.devices}")
        if not 0 <= self.resident <= 1:
            raise WTFlowError(f"--resident {self.resident}: give at least 0 and at most 1")
        if not 0 < self.efficiency <= 1:
            raise WTFlowError(f"--efficiency {self.efficiency}: give above 0 and at most 1")


class Plan(NamedTuple):
    """What a run takes; bytes and seconds are of one device, steps of all together.

    Attributes:
        parameters: of the network.
        forward_flops: of one velocity for one map.
        step_flops: of a training step, all devices.
        state_bytes: parameters and AdamW's two moments: the arguments and results of a step.
        gradient_bytes: and of parameters that are gathered or cast for computing.
        activation_bytes: kept for the gradients, and both ends of the path.
        feature_bytes: of all training images, once; x0 takes as much again while they train.
        moved_bytes: what a step must read and write at least.
        sent_bytes: to other devices in a step.
        computing_seconds: a step's operations.
        moving_seconds: ``moved_bytes`` from and to the device's memory.
        sending_seconds: ``sent_bytes``.
        step_seconds: computing or moving, whichever is longer, and sending; not what features take
            from disk and to the devices.
        bound: which of the three takes longest.
        one_step_seconds: inference of one map by one Euler step.
        epoch_seconds: all steps of an epoch.
    """

    parameters: int
    forward_flops: int
    step_flops: int
    state_bytes: float
    gradient_bytes: float
    activation_bytes: float
    feature_bytes: float
    moved_bytes: float
    sent_bytes: float
    computing_seconds: float
    moving_seconds: float
    sending_seconds: float
    step_seconds: float
    bound: str
    one_step_seconds: float
    epoch_seconds: float


def plan(settings: Settings) -> Plan:
    """Return what a run takes.

    Raises:
        WTFlowError: a value is out of its range.
    """
    settings.check()
    asked, device = settings, DEVICES[settings.device]
    net = network(asked.width, asked.channels, asked.cells)
    size, share = BYTES[asked.precision], asked.batch / asked.devices
    # Forward, both gradients (the first layer's input needs none), AdamW.
    step_flops = asked.batch * (3 * net.flops - net.convolutions[FIRST].flops)
    step_flops += 14 * net.parameters
    parameters = FLOAT * net.parameters / asked.model
    # Gradients are held whole and in float32, and beside them the gathered parameters or, where
    # there are none to gather, their own sums over devices; bfloat16 is a copy more.
    gathered = FLOAT * net.parameters if asked.devices > 1 else 0
    gathered += size * net.parameters if size < FLOAT else 0
    kept = 2 * net.normed + sum(
        layer.before * layer.height * layer.width for layer in net.convolutions
    )
    # x0, x1, x_t, v and the error of v are float32.
    ends = 5 * FLOAT * asked.channels * math.prod(asked.cells)
    activations = share * (size * kept + ends)
    # Parameters and moments in and out, parameters once more for the gradients; whole gradients and
    # what is gathered out and in, activations too.
    moved = 7 * parameters + 2 * FLOAT * net.parameters + 2 * gathered + 2 * activations
    sent = FLOAT * net.parameters * (2 * (1 - 1 / asked.devices) + (1 - 1 / asked.model))
    peak = asked.efficiency * device.peak[asked.precision]
    computing = step_flops / asked.devices / peak
    moving = moved / device.bandwidth
    sending = sent / (device.link if asked.devices <= NODE else NETWORK)
    seconds = max(computing, moving) + sending
    bound = max((computing, "computing"), (moving, "memory"), (sending, "sending"))[1]
    steps = math.ceil(asked.images / asked.batch)
    return Plan(
        parameters=net.parameters,
        forward_flops=net.flops,
        step_flops=step_flops,
        state_bytes=3 * parameters,
        gradient_bytes=FLOAT * net.parameters + gathered,
        activation_bytes=activations,
        feature_bytes=FLOAT * asked.images * asked.channels * math.prod(asked.cells),
        moved_bytes=moved,
        sent_bytes=sent,
        computing_seconds=computing,
        moving_seconds=moving,
        sending_seconds=sending,
        step_seconds=seconds,
        bound=bound,
        one_step_seconds=max(net.flops / peak, size * net.parameters / device.bandwidth),
        epoch_seconds=steps * seconds,
    )


def _units(value: float, unit: str) -> str:
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def _duration(seconds: float) -> str:
    for factor, unit in ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min"), (1.0, "s")):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{1e3 * seconds:.3g} ms"


def table(settings: Settings) -> Table:
    """Return a plan as a table.

    Raises:
        WTFlowError: a value is out of its range.
    """
    asked, found = settings, plan(settings)
    device = DEVICES[asked.device]
    total = found.state_bytes + found.gradient_bytes + found.activation_bytes
    held = 2 * found.feature_bytes
    if held <= min(asked.resident * device.memory, device.memory - total):
        where = "features on the device"
    elif total <= device.memory:
        rate = _units(found.feature_bytes / found.epoch_seconds, "B/s")
        where = f"features streamed from disk, {rate} in all"
    elif found.gradient_bytes > device.memory:
        where = "too much on any number of devices: lower --width"
    else:
        where = "too much: lower --width or --batch, or raise --devices and --model"
    shown = Table(
        title=f"{asked.images:,} images, width {asked.width}, {asked.devices} × {asked.device}, "
        f"{asked.precision}",
        caption=f"a roofline at {asked.efficiency:.0%} of the peak; bytes and seconds of a device",
        show_header=False,
    )
    for name, value in (
        ("parameters", f"{found.parameters / 1e6:,.1f} M"),
        ("one velocity", _units(found.forward_flops, "FLOP")),
        ("a training step", _units(found.step_flops, "FLOP")),
        ("parameters, moments", _units(found.state_bytes, "B")),
        ("gradients, gathered parameters", _units(found.gradient_bytes, "B")),
        ("activations", _units(found.activation_bytes, "B")),
        ("features", _units(found.feature_bytes, "B")),
        (
            "memory",
            f"{_units(total, 'B')} without features, of {_units(device.memory, 'B')}: {where}",
        ),
        (
            "moved, sent a step",
            f"{_units(found.moved_bytes, 'B')}, {_units(found.sent_bytes, 'B')}",
        ),
        (
            "computing, moving, sending",
            ", ".join(
                _duration(seconds)
                for seconds in (
                    found.computing_seconds,
                    found.moving_seconds,
                    found.sending_seconds,
                )
            ),
        ),
        ("a training step takes", f"{_duration(found.step_seconds)}, bound by {found.bound}"),
        ("an epoch", _duration(found.epoch_seconds)),
        (f"{asked.epochs} epochs", _duration(asked.epochs * found.epoch_seconds)),
        ("one map, one Euler step", _duration(found.one_step_seconds)),
    ):
        shown.add_row(name, value)
    return shown


if __name__ == "__main__":
    try:
        Console(highlight=False).print(
            table(tyro.cli(Settings, prog="python -m wtflow_jax.plan", description=__doc__))
        )
    except WTFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
