"""WT-Flow in JAX: image anomaly detection by time-reversed flow matching.

The paper is "Time-reversed Flow Matching with Worst Transport" (arXiv 2508.05461v2). Modules are
imported by name (``from wtflow_jax import loss, ode``); importing the package alone loads nothing.
"""

__version__ = "0.1.0"
