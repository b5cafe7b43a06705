"""A higher loss that separates better: training loss and AUROC by WT map (Table X).

Claim: the loss grows from none to batch_norm to layer_norm (0.687, 0.737, 0.906 at width 768;
0.802, 0.853, 1.011 at 512), and so does image AUROC (92.20, 97.79, 99.05; 90.28, 96.68, 98.36).

    python experiments/loss_vs_wt.py                                      # built-in category
    python experiments/loss_vs_wt.py --root mvtec_ad --categories bottle --seeds 3

Cost: three models a category and seed, each that of mvtec.py.
"""

import sys

from wtflow_jax.lab import Changes, Experiment, Rows, Setup, main, paper, views
from wtflow_jax.support.console import Table, number

MAPS = ("none", "batch_norm", "layer_norm")


def variants(setup: Setup) -> dict[str, Changes]:
    """Return the paper's three maps, without the position embedding."""
    return {wt: {"wt": wt, "position": False} for wt in MAPS}


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return AUROC and loss a map, and the losses beside the paper's."""
    theirs = paper.table("X")
    auroc = {wt: (theirs["image"][f"{wt} 768"].value, None) for wt in MAPS}
    columns = ["WT map", *views.names(rows, "category"), "paper, width 512", "paper, width 768"]
    losses = []
    for wt in views.names(rows, "variant"):
        cells = [wt]
        for name in views.names(rows, "category"):
            value, std = views.over_seeds(views.pick(rows, category=name, variant=wt), "loss")
            cells.append(number(value, std, 3))
        widths = (512, 768)
        cells += [number(theirs["loss"][f"{wt} {width}"].value, None, 3) for width in widths]
        losses.append(cells)
    return [
        Table("Training loss by WT map, mean over the last ten epochs", columns, losses),
        views.by_variant(rows, "AUROC in % by WT map", "WT map", auroc),
    ]


EXPERIMENT = Experiment("loss_vs_wt", __doc__ or "", show, variants)


if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
