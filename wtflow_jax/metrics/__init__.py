"""Metrics of anomaly detection on the host: exact, at little cost in time and memory.

A metric is an entry of ``METRICS``; a new one is a file in this folder that adds it.
"""

from wtflow_jax.metrics.curves import Curves, curves
from wtflow_jax.metrics.ranking import METRICS, Metric, Regions, UndefinedMetric, auroc, measure
from wtflow_jax.metrics.regions import Region, aupro, label_regions, spro

__all__ = [
    "METRICS",
    "Curves",
    "Metric",
    "Region",
    "Regions",
    "UndefinedMetric",
    "aupro",
    "auroc",
    "curves",
    "label_regions",
    "measure",
    "spro",
]
