"""Is the WT map just a norm layer? The norm on the data, before the network, or both (Table XI).

Claim (image/pixel AUROC): on the data (WT) 99.05/97.95, without a norm 94.54/96.55, only before the
network (std) 86.93/93.96, both 98.10/97.71 (means over MVTec AD, Wide-ResNet-50-2, width 768).

    python experiments/ablation_placement.py                                      # built-in
    python experiments/ablation_placement.py --root mvtec_ad --categories bottle

"std" gives the network LN(x_t) in place of x_t; data, path and loss are unchanged. Four models per
category: four times the cost of mvtec.py.
"""

from wtflow_jax.lab import comparison

VARIANTS = {
    "without": {"wt": "none", "input_norm": False},
    "std": {"wt": "none", "input_norm": True},
    "WT": {"wt": "layer_norm", "input_norm": False},
    "WT and std": {"wt": "layer_norm", "input_norm": True},
}
EXPERIMENT = comparison(
    "ablation_placement",
    __doc__,
    lambda setup: VARIANTS,
    ("AUROC in % by placement", "placement"),
    table="XI",
    extra=("loss",),
)
EXPERIMENT.command(__name__)
