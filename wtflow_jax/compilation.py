"""Compiler options of the outermost jitted functions that run convolutions.

JAX refuses them on a jit within a jit, so what others are meant to compose (``ode``) has none.
"""

import contextlib
import os
import stat
import zlib
from pathlib import Path

import jax

from wtflow_jax.errors import WTFlowError

XLA_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""}
"""For ``jax.jit(compiler_options=...)``; without effect on accelerators.

On CPU, jaxlib 0.10 to 0.12 hand convolutions to YNNPACK. Without it the gradient of a 3×3 kernel
takes 0.4 of the time and a whole training step about half (docs/performance.md).
"""

RUN_ONCE = {"xla_backend_optimization_level": 0}
"""For what is run once: drawing a network's first weights compiles in a third of the time."""


STAMP = ".checked"
"""In a directory of compiled programs: its age says which of them were looked at."""
ZSTD = b"\x28\xb5\x2f\xfd"
"""First bytes of what the package zstandard has packed, where it is installed; else it is zlib."""


def keep(directory: Path) -> None:
    """Keep what this process compiles, however small, for the next one of the same machine.

    Such files hold machine code, so the directory is the user's own. What a killed process has
    left half-written there is removed: JAX would complain of it for ever.

    Args:
        directory: JAX's persistent compilation cache; made where it does not exist.

    Raises:
        WTFlowError: others may write there.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = directory.stat()
    # Whoever made a link decides where it leads.
    ours = directory.lstat().st_uid == found.st_uid == os.getuid()
    if not ours or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise WTFlowError(
            f"{directory}: other users may write there, and its files are run; "
            "chmod 700 it, or delete it"
        )
    _remove_damaged(directory)
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _remove_damaged(directory: Path) -> None:
    stamp = directory / STAMP
    since = stamp.stat().st_mtime_ns if stamp.exists() else 0
    stamp.touch()
    for path in directory.glob("*-cache"):
        # Another process may remove it meanwhile.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime_ns >= since and not _is_whole(path.read_bytes()):
                path.unlink()


def _is_whole(program: bytes) -> bool:
    if program.startswith(ZSTD):
        return True
    try:
        zlib.decompress(program)
    except zlib.error:
        return False
    return True
