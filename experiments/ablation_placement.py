"""Is the WT map just a norm layer? The norm on the data, in front of the network, both (Table XI).

Claim: on the data (WT) 99.05/97.95, without any 94.54/96.55, in front of the network alone (std)
86.93/93.96, both 98.10/97.71 (means over MVTec AD, Wide-ResNet-50-2, width 768).

    python experiments/ablation_placement.py                                      # built-in
    python experiments/ablation_placement.py --root mvtec_ad --categories bottle

"std" shows the network LN(x_t) in place of x_t and leaves data, path and loss as they are. Four
models a category: four times the cost of mvtec.py.
"""

import sys

from wtflow_jax.lab import Changes, Experiment, Rows, Setup, main, paper, views
from wtflow_jax.support.console import Table


def variants(setup: Setup) -> dict[str, Changes]:
    """Return the four placements, by the paper's names."""
    return {
        "without": {"wt": "none", "input_norm": False},
        "std": {"wt": "none", "input_norm": True},
        "WT": {"wt": "layer_norm", "input_norm": False},
        "WT and std": {"wt": "layer_norm", "input_norm": True},
    }


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return image and pixel AUROC, and the loss, a placement."""
    theirs, extra = paper.auroc("XI"), ("loss",)
    return [views.by_variant(rows, "AUROC in % by placement", "placement", theirs, extra)]


EXPERIMENT = Experiment("ablation_placement", __doc__ or "", show, variants)


if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
