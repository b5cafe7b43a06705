"""What a training run takes: operations, bytes and, by a roofline, seconds."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from wtflow_jax.plan.layers import FIRST, network
from wtflow_jax.support.errors import WTFlowError

FLOAT = 4
"""Bytes of a float32: parameters, moments, gradients and features."""
BYTES = {"float32": 4, "bfloat16": 2}
"""Of a number that is computed with."""


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
