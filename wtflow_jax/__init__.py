"""WT-Flow in JAX: image anomaly detection by time-reversed flow matching.

The paper is "Time-reversed Flow Matching with Worst Transport" (arXiv 2508.05461v2).

    import wtflow_jax as wtflow

    model = wtflow.fit("photos/good")
    result = model.predict("part.png")  # result.score, result.defective, result.map
    model.save("model")
    model = wtflow.load("model")

Each name is imported at its first use. Researchers start in ``wtflow_jax.flow`` (the paper) and
``wtflow_jax.geometry`` (measurements on any velocity).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wtflow_jax.app.fit import fit
    from wtflow_jax.detector.config import Config, configure
    from wtflow_jax.detector.model import Model, Result, load
    from wtflow_jax.support.errors import WTFlowError, WTFlowWarning

__version__ = "0.1.0"
__all__ = [
    "Config",
    "Model",
    "Result",
    "WTFlowError",
    "WTFlowWarning",
    "configure",
    "fit",
    "load",
]

_FROM = {
    "fit": "app.fit",
    "Config": "detector.config",
    "configure": "detector.config",
    "Model": "detector.model",
    "Result": "detector.model",
    "load": "detector.model",
    "WTFlowError": "support.errors",
    "WTFlowWarning": "support.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"wtflow_jax.{_FROM[name]}"), name)
