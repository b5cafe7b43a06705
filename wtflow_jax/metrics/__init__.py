"""Exact metrics of anomaly detection, computed on the host in little time and memory.

A metric is an entry of ``METRICS``. To add one, put a file that adds it into this folder.
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
