"""How functions are compiled: options, arguments that cannot be, and JAX's cache of programs.

JAX refuses options on a jit within a jit, so what others are meant to compose (``flow.ode``) has
none.
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

On CPU, jaxlib 0.10 to 0.12 hand convolutions to YNNPACK. Without it the gradient of a 3×3 kernel
takes 0.4 of the time and a whole training step about half (docs/appendix/performance.md).
"""

RUN_ONCE = {"xla_backend_optimization_level": 0}
"""For what is run once: drawing a network's first weights compiles in a third of the time."""

Function = TypeVar("Function", bound=Callable[..., Any])

STAMP = ".checked"
"""In a directory of compiled programs: its age says which of them were looked at."""
ZSTANDARD = b"\x28\xb5\x2f\xfd"
"""What its files begin with."""


def jit(*static: str) -> Callable[[Function], Function]:
    """Return a decorator: ``jax.jit``, whose refusals of arguments are errors of one line.

    Args:
        static: names of arguments that are no arrays; equal ones share a program, by their hash.

    Returns:
        What compiles a function. It raises WTFlowError for a static argument without a hash, and
        where another one, or a leaf of it, is no array.
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
            # Without JAX's frames, and its note on those that it has left out.
            raise WTFlowError(refused)

        return call  # pyright: ignore[reportReturnType]

    return decorate


def _refused(given: Mapping[str, Any], static: tuple[str, ...]) -> str:
    """Return what JAX cannot take of some arguments, or nothing."""
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
            what = getattr(leaf, "dtype", type(leaf).__name__)
            return (
                f"{where}: is not an array but of type {what}; give arrays only (of an Equinox "
                "module equinox.partition(module, equinox.is_array)[0]) and keep the rest in the "
                "function"
            )
    return ""


def in_float32(function: Function) -> Function:
    """Return a function whose products of matrices are in full float32, or what they are given in.

    On NVIDIA's cards the default is TF32, of ten bits: whitened features are off by 0.2 %.
    """

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        with jax.default_matmul_precision("highest"):
            return function(*arguments, **named)

    return call  # pyright: ignore[reportReturnType]


def keep(directory: Path) -> None:
    """Keep what this process compiles for the next one, unless JAX was told of another place.

    Raises:
        WTFlowError: others may write there, and its files hold machine code.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = directory.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise WTFlowError(
            f"{directory}: other users may write there, and its files are run; "
            "chmod 700 it, or delete it"
        )
    _remove_damaged(directory)
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _remove_damaged(directory: Path) -> None:
    """Remove what a killed process has left half-written: JAX would complain of it for ever."""
    stamp = directory / STAMP
    since = stamp.stat().st_mtime_ns if stamp.exists() else 0
    stamp.touch()
    for path in directory.glob("*-cache"):
        # Another process may remove it meanwhile.
        with contextlib.suppress(FileNotFoundError):
            # Packed by zlib, or by zstandard where that is installed.
            if path.stat().st_mtime_ns < since or path.read_bytes().startswith(ZSTANDARD):
                continue
            try:
                zlib.decompress(path.read_bytes())
            except zlib.error:
                path.unlink()
