"""Compiler options of the outermost jitted functions that run convolutions.

JAX refuses them on a jit within a jit, so what others are meant to compose (``ode``) has none.
"""

XLA_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""}
"""For ``jax.jit(compiler_options=...)``; without effect on accelerators.

On CPU, jaxlib 0.10 to 0.12 hand convolutions to YNNPACK. Without it the gradient of a 3×3 kernel
takes 0.4 of the time and a whole training step about half (docs/performance.md).
"""

RUN_ONCE = {"xla_backend_optimization_level": 0}
"""For what is run once: drawing a network's first weights compiles in a third of the time."""
