"""WT-Flow on VisA, the one-class split (Table II, suppl. Tables X and XI).

Claim: 96.52 image AUROC and 98.90 pixel AUROC over the 12 categories with layer_norm, 95.52 and
98.59 with batch_norm, 90.62 and 98.10 without a WT map (Wide-ResNet-50-2, width 768).

    python -m wtflow_jax.datasets check visa path/to/visa
    python experiments/visa.py --root path/to/visa --preset paper    # needs a GPU
    python experiments/visa.py --root path/to/visa --categories candle

The paper takes layer2 for macaroni2; so does this, with a ResNet. Cost: like mvtec.py, with two to
four times the training images per category. Not run here yet: no data at hand (docs/results.md).
"""

from wtflow_jax.lab import data_set

EXPERIMENT = data_set("visa", __doc__, means="II", image="S-X", pixel="S-XI", data="visa")
EXPERIMENT.command(__name__)
