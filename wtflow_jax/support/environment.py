"""What results depend on besides flags and data: versions, the device, and its memory."""

import contextlib
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

import wtflow_jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "diffrax", "numpy", "pillow")

try:
    _HOME = Path.home()
except RuntimeError:
    _HOME = Path()  # A user without a passwd entry, as in a container.
CACHE = _HOME / ".cache" / "wtflow-jax"
"""Cache of features, downloaded weights, compiled programs and the built-in category."""


def versions() -> dict[str, str]:
    """Return the versions of Python, of this library and of the packages it computes with."""
    own = {"python": sys.version.split()[0], "wtflow-jax": wtflow_jax.__version__}
    return own | {name: version(name) for name in PACKAGES}


def environment() -> dict[str, Any]:
    """Return versions and the device."""
    device = jax.devices()[0]
    name = f"{device.platform}: {device.device_kind}, {os.cpu_count()} cores"
    return {"versions": versions(), "device": name}


def setting(error: Exception) -> str:
    """Return the JAX setting that caused an error, and what to do; empty if no setting did."""
    if isinstance(error, jax.dtypes.TypePromotionError):
        return "JAX_NUMPY_DTYPE_PROMOTION=strict: Flax needs standard promotion; unset it"
    try:
        jax.devices()
    # JAX raises AssertionError without text if the platform's package is not installed.
    except (RuntimeError, AssertionError) as found:
        reason = " ".join(str(found).split()) or "there is no such device, or no package for it"
        platforms = os.environ.get("JAX_PLATFORMS", "")
        return f"JAX_PLATFORMS={platforms}: {reason}; unset it, or give cpu"
    return ""


def memory() -> float:
    """Return the memory in bytes of the device, or of this process if it is limited to less."""
    allowed = machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # The limit of a container or a batch system (cgroup v2), if there is one.
    with contextlib.suppress(OSError, ValueError):
        _, _, group = Path("/proc/self/cgroup").read_text().strip().rpartition("::")
        allowed = int(Path(f"/sys/fs/cgroup{group}/memory.max").read_text())
    stats = jax.local_devices()[0].memory_stats() or {}
    return min(machine, allowed, stats.get("bytes_limit", machine))
