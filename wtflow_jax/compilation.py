"""Compiler options of the outermost jitted functions that run convolutions.

JAX refuses them on a jit within a jit, so what others are meant to compose (``ode``) has none.
"""

from pathlib import Path

import jax

XLA_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""}
"""For ``jax.jit(compiler_options=...)``; without effect on accelerators.

On CPU, jaxlib 0.10 to 0.12 hand convolutions to YNNPACK. Without it the gradient of a 3×3 kernel
takes 0.4 of the time and a whole training step about half (docs/performance.md).
"""

RUN_ONCE = {"xla_backend_optimization_level": 0}
"""For what is run once: drawing a network's first weights compiles in a third of the time."""


def keep(directory: Path) -> None:
    """Keep what this process compiles, however small, for the next one of the same machine.

    Args:
        directory: JAX's persistent compilation cache; made where it does not exist.
    """
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
