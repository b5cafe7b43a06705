"""What numbers depend on beside flags and data: versions, the device, and its memory."""

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

import wtflow_jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "diffrax", "numpy", "pillow")


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        # A user without a name, as in a container.
        return Path()


CACHE = _home() / ".cache" / "wtflow-jax"
"""For features, downloaded weights, compiled programs and the built-in category."""


def versions() -> dict[str, str]:
    """Return the versions of Python, of this library and of what it computes with."""
    own = {"python": sys.version.split()[0], "wtflow-jax": wtflow_jax.__version__}
    return own | {name: version(name) for name in PACKAGES}


def environment() -> dict[str, Any]:
    """Return versions and the device."""
    device = jax.devices()[0]
    name = f"{device.platform}: {device.device_kind}, {os.cpu_count()} cores"
    return {"versions": versions(), "device": name}


def memory() -> float:
    """Return the bytes of the device, or those that this process may take, the fewer."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    stats = jax.local_devices()[0].memory_stats() or {}
    return min(machine, _allowed(machine), stats.get("bytes_limit", machine))


def _allowed(otherwise: int) -> int:
    """Return what a container or a batch system allows (cgroup v2), where it says so."""
    try:
        _, _, group = Path("/proc/self/cgroup").read_text().strip().rpartition("::")
        return int(Path(f"/sys/fs/cgroup{group}/memory.max").read_text())
    except (OSError, ValueError):
        return otherwise
