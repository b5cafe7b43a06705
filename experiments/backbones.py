"""Which backbone extracts the features (suppl. Table VII).

Claim: ResNet-18 98.24/97.72, ResNet-34 98.31/97.62 and Wide-ResNet-50-2 99.05/97.95 with
layer_norm, 97.90/97.71, 97.81/97.58 and 98.57/97.68 with batch_norm: the backbone hardly matters
(means over MVTec AD, width 768).

    python experiments/backbones.py                                      # built-in category
    python experiments/backbones.py --root mvtec_ad --categories bottle --weights directory

EfficientNet-Lite0 and ResNet-18; with ``--preset paper`` all backbones. ``--weights`` takes a
directory of files that begin with a backbone's name; missing files are downloaded. Cost: two models
per backbone and category, each like mvtec.py.
"""

from wtflow_jax.backbones import BACKBONES
from wtflow_jax.lab import Setup, Variants, comparison, grid


def variants(setup: Setup) -> Variants:
    """Return each backbone with batch_norm and layer_norm, by the paper's names."""
    at_hand = "resnet18", "efficientnet_lite0"
    backbones = BACKBONES if setup.run.preset == "paper" else at_hand
    return grid(backbone=backbones, wt=("batch_norm", "layer_norm"))


TITLES = "AUROC in % by backbone", "backbone, WT map"
EXPERIMENT = comparison("backbones", __doc__, variants, TITLES, table="S-VII")
EXPERIMENT.command(__name__)
