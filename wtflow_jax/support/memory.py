"""How much memory there is to take."""

import os
from pathlib import Path

import jax


def limit() -> float:
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
