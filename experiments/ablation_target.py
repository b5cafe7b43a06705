"""Where x1 comes from, with and without the WT map (Table VIII).

Claim: Gaussian 99.05/97.95 and uniform sphere 99.02/97.87 are as good, a single point 84.37/95.64
is not; without the WT map 94.54/96.55, 93.96/96.31 and 81.01/94.64 (means over MVTec AD,
Wide-ResNet-50-2, width 768).

    python experiments/ablation_target.py                                      # built-in category
    python experiments/ablation_target.py --root mvtec_ad --categories bottle

Six models a category: six times the cost of mvtec.py.
"""

import sys
from itertools import product
from typing import get_args

from wtflow_jax.detector.config import Config, TargetName
from wtflow_jax.lab import common, interrupts, paper, views
from wtflow_jax.support import tables


def variants(config: Config) -> dict[str, common.Changes]:
    """Return every target with none and with layer_norm."""
    pairs = product(reversed(get_args(TargetName)), ("none", "layer_norm"))
    return {f"{target} {wt}": {"target": target, "wt": wt} for target, wt in pairs}


def show(config: Config, rows: views.Rows) -> list[tables.Table]:
    """Return image and pixel AUROC a target."""
    theirs = paper.auroc("VIII")
    return [views.by_variant(rows, "AUROC in % by target and WT map", "target, WT map", theirs)]


EXPERIMENT = common.Experiment("ablation_target", __doc__ or "", show, variants)


if __name__ == "__main__":
    sys.exit(common.main(EXPERIMENT, sys.argv[1:]))
