"""How functions are compiled: options, invalid arguments, and JAX's compilation cache.

JAX refuses compiler options on a jit within a jit, so functions that users compose (``flow.ode``)
have no options.
"""

import contextlib
import inspect
import os
import stat
import zlib
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import jax

from wtflow_jax.support.errors import WTFlowError

XLA_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""}
"""For ``jax.jit(compiler_options=...)``; without effect on accelerators.

On CPU, jaxlib 0.10 to 0.12 hand convolutions to YNNPACK. Without YNNPACK the gradient of a 3×3
kernel takes 0.4 of the time, a whole training step about half (docs/appendix/performance.md).
"""

RUN_ONCE = {"xla_backend_optimization_level": 0}
"""For functions that run once: a network's initialization compiles in a third of the time."""

Function = TypeVar("Function", bound=Callable[..., Any])

STAMP = ".checked"
"""File in the compilation cache; cache files older than it were checked already."""
ZSTANDARD = b"\x28\xb5\x2f\xfd"
"""First bytes of a file compressed by zstandard."""


def jit(*static: str) -> Callable[[Function], Function]:
    """Return a decorator: ``jax.jit`` with one-line errors for invalid arguments.

    Args:
        static: names of arguments that are not arrays; equal values share a compiled program.

    Returns:
        The decorator. The compiled function raises WTFlowError if a static argument has no hash, or
        if a leaf of another argument is not an array.
    """

    def decorate(function: Function) -> Function:
        compiled = jax.jit(function, static_argnames=static)

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            try:
                return compiled(*arguments, **named)
            except WTFlowError as error:
                refused = str(error)
            except (TypeError, ValueError):
                given = inspect.signature(function).bind(*arguments, **named).arguments
                if not (refused := _refused(given, static)):
                    raise
            # Outside the except block: no JAX frames, nor JAX's note on hidden frames.
            raise WTFlowError(refused)

        return call  # pyright: ignore[reportReturnType]

    return decorate


def _refused(given: Mapping[str, Any], static: tuple[str, ...]) -> str:
    """Return a message on the first argument that JAX refuses; empty if all are valid."""
    for name in filter(given.__contains__, static):
        try:
            hash(given[name])
        except TypeError:
            return (
                f"{name}: a value of type {type(given[name]).__name__}, which has no hash; give a "
                "plain value, or a function whose arrays are among its params"
            )
    arrays = {name: value for name, value in given.items() if name not in static}
    for path, leaf in jax.tree.leaves_with_path(arrays):
        try:
            jax.typeof(leaf)
        except TypeError:
            where = jax.tree_util.keystr(path, simple=True, separator=".")
            kind = getattr(leaf, "dtype", type(leaf).__name__)
            return (
                f"{where}: is not an array but of type {kind}; give arrays only (for an Equinox "
                "module, equinox.partition(module, equinox.is_array)[0]) and keep the rest in the "
                "function"
            )
    return ""


def in_float32(function: Function) -> Function:
    """Return a function whose matrix products keep the full precision of float32 operands.

    On NVIDIA GPUs the default is TF32, with a 10-bit mantissa: whitened features are off by 0.2 %.
    """

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        with jax.default_matmul_precision("highest"):
            return function(*arguments, **named)

    return call  # pyright: ignore[reportReturnType]


def keep(directory: Path) -> None:
    """Cache compiled programs in a directory, unless JAX_COMPILATION_CACHE_DIR is set.

    Raises:
        WTFlowError: other users may write to the directory, whose files hold machine code.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = directory.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise WTFlowError(
            f"{directory}: other users may write there, and its files are executed; "
            "chmod 700 it, or delete it"
        )
    _remove_damaged(directory)
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _remove_damaged(directory: Path) -> None:
    """Remove files that a killed process left incomplete: JAX would warn of them in every run."""
    stamp = directory / STAMP
    since = stamp.stat().st_mtime_ns if stamp.exists() else 0
    stamp.touch()
    for path in directory.glob("*-cache"):
        # Another process may remove it meanwhile.
        with contextlib.suppress(FileNotFoundError):
            # Compressed by zlib, or by zstandard (not checked here) if that is installed.
            if path.stat().st_mtime_ns < since or path.read_bytes().startswith(ZSTANDARD):
                continue
            try:
                zlib.decompress(path.read_bytes())
            except zlib.error:
                path.unlink()
