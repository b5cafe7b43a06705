"""A plan as a table."""

from rich.table import Table

from wtflow_jax.plan.formulas import DEVICES, Settings, plan


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
