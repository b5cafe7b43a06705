"""Metrics of anomaly detection on the host: exact, at little cost in time and memory.

A metric is an entry of ``METRICS``; a new one is a file in this folder that adds it.
"""

from wtflow_jax.metrics.curves import Curves as Curves
from wtflow_jax.metrics.curves import curves as curves
from wtflow_jax.metrics.ranking import METRICS as METRICS
from wtflow_jax.metrics.ranking import Metric as Metric
from wtflow_jax.metrics.ranking import Regions as Regions
from wtflow_jax.metrics.ranking import UndefinedMetric as UndefinedMetric
from wtflow_jax.metrics.ranking import auroc as auroc
from wtflow_jax.metrics.ranking import measure as measure
from wtflow_jax.metrics.regions import Region as Region
from wtflow_jax.metrics.regions import aupro as aupro
from wtflow_jax.metrics.regions import label_regions as label_regions
from wtflow_jax.metrics.regions import spro as spro
from wtflow_jax.metrics.single_images import aupimo as aupimo
