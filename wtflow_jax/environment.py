"""What numbers depend on beside flags and data: versions and the device."""

import os
import sys
from importlib.metadata import version
from typing import Any

import jax

import wtflow_jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "diffrax", "numpy", "pillow")


def versions() -> dict[str, str]:
    """Return the versions of Python, of this library and of what it computes with."""
    own = {"python": sys.version.split()[0], "wtflow-jax": wtflow_jax.__version__}
    return own | {name: version(name) for name in PACKAGES}


def environment() -> dict[str, Any]:
    """Return versions and the device."""
    device = jax.devices()[0]
    name = f"{device.platform}: {device.device_kind}, {os.cpu_count()} cores"
    return {"versions": versions(), "device": name}
