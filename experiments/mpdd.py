"""WT-Flow on MPDD, painted metal parts (Table V).

Claim: 94.2 image AUROC and 98.3 pixel AUROC over the 6 categories with layer_norm, 58.9 and 93.3
without a WT map (Wide-ResNet-50-2, width 768).

    python -m wtflow_jax.datasets check mpdd path/to/mpdd
    python experiments/mpdd.py --root path/to/mpdd --preset paper    # needs a GPU

Cost: like mvtec.py. Not run here yet: no data at hand (docs/results.md).
"""

from wtflow_jax.lab import data_set

EXPERIMENT = data_set("mpdd", __doc__, means="V", data="mpdd")
EXPERIMENT.command(__name__)
