"""Where x1 comes from, with and without the WT map (Table VIII).

Claim (image/pixel AUROC): Gaussian 99.05/97.95 and uniform sphere 99.02/97.87 are equally good, a
single point 84.37/95.64 is worse; without the WT map 94.54/96.55, 93.96/96.31 and 81.01/94.64
(means over MVTec AD, Wide-ResNet-50-2, width 768).

    python experiments/ablation_target.py                                      # built-in category
    python experiments/ablation_target.py --root mvtec_ad --categories bottle

Six models per category: six times the cost of mvtec.py.
"""

from wtflow_jax.flow.targets import TARGETS
from wtflow_jax.lab import comparison, grid

EXPERIMENT = comparison(
    "ablation_target",
    __doc__,
    lambda setup: grid(target=reversed(list(TARGETS)), wt=("none", "layer_norm")),
    ("AUROC in % by target and WT map", "target, WT map"),
    table="VIII",
)
EXPERIMENT.command(__name__)
