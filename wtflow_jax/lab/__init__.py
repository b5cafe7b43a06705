"""Code that experiments share: flags, rows, the store of trained models, tables, sweeps."""

from wtflow_jax.lab.experiment import Experiment, Variants, comparison, data_set, grid
from wtflow_jax.lab.flags import Setup
from wtflow_jax.lab.job import Job
from wtflow_jax.lab.results import Row, Rows

__all__ = [
    "Experiment",
    "Job",
    "Row",
    "Rows",
    "Setup",
    "Variants",
    "comparison",
    "data_set",
    "grid",
]
