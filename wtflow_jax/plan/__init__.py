"""What a run will take, before it is started: ``python -m wtflow_jax.plan --width 768``.

Everything follows from formulas of the U-Net's layers, which tests hold against XLA: parameters
exactly, floating-point operations against the cost analysis of the unoptimised program, bytes
against its memory analysis. Seconds are a roofline: the longer of computing at ``efficiency`` of
the peak (float32 as TF32 where there are units for it) and of moving the bytes that every step
must move, and after it sending what other devices need. ``--batch`` is an experiment's
``--batch-size``, ``--devices 8 --model 2`` its ``--mesh 4 2``.
"""

from wtflow_jax.plan.formulas import BYTES, DEVICES, FLOAT, Device, Plan, Settings, plan
from wtflow_jax.plan.layers import Convolution, Network, network
from wtflow_jax.plan.summary import table

__all__ = [
    "BYTES",
    "DEVICES",
    "FLOAT",
    "Convolution",
    "Device",
    "Network",
    "Plan",
    "Settings",
    "network",
    "plan",
    "table",
]
