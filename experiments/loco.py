"""WT-Flow on MVTec LOCO AD, with logical and structural anomalies apart (Table III).

Claim: 87.7 image AUROC over the 5 categories with layer_norm, 69.7 without a WT map
(Wide-ResNet-50-2, width 768). The paper states no figures by kind of anomaly and no sPRO. Here both
are measured; sPRO is the area under the saturated per-region overlap up to a false-positive rate of
0.05.

    python -m wtflow_jax.datasets check mvtec_loco path/to/loco
    python experiments/loco.py --root path/to/loco --preset paper    # needs a GPU
    python experiments/loco.py --root path/to/loco --categories pushpins

The validation images set the threshold. Cost: like mvtec.py, with one and a half times the images.
Not run here yet: no data at hand (docs/results.md).
"""

from wtflow_jax.lab import data_set

EXPERIMENT = data_set("loco", __doc__, means="III", data="mvtec_loco")
EXPERIMENT.command(__name__)
