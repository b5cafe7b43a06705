"""Metrics of anomaly detection on the host: exact, at little cost in time and memory."""

from wtflow_jax.metrics.curves import Curves, curves
from wtflow_jax.metrics.ranking import F1Max, UndefinedMetric, auroc, average_precision, f1_max
from wtflow_jax.metrics.regions import Region, Regions, aupro, label_regions, pixel_metrics, spro

__all__ = [
    "Curves",
    "F1Max",
    "Region",
    "Regions",
    "UndefinedMetric",
    "aupro",
    "auroc",
    "average_precision",
    "curves",
    "f1_max",
    "label_regions",
    "pixel_metrics",
    "spro",
]
