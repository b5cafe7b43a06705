"""WT-Flow on MVTec AD, one model per category (Table I, suppl. Tables VIII and IX).

Claim: 99.05 image AUROC and 97.95 pixel AUROC over the 15 categories with layer_norm,
94.54 and 96.55 without a WT map (Wide-ResNet-50-2, width 768).

    python experiments/mvtec.py                                    # a built-in category, CPU
    python experiments/mvtec.py --root mvtec_ad --categories bottle
    python experiments/mvtec.py --root mvtec_ad --preset paper     # Sec. V-A, needs a GPU

Cost: some minutes per category on two CPU cores with the preset small. The paper's numbers are
printed beside the measured ones. Our results: docs/results.md.
"""

from wtflow_jax.lab import data_set

EXPERIMENT = data_set("mvtec", __doc__, means="I", image="S-VIII", pixel="S-IX", data="mvtec_ad")
EXPERIMENT.command(__name__)
