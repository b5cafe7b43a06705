"""A higher loss that separates better: training loss and AUROC by WT map (Table X).

Claim: the loss grows from none to batch_norm to layer_norm (0.687, 0.737, 0.906 at width 768;
0.802, 0.853, 1.011 at 512), and so does image AUROC (92.20, 97.79, 99.05; 90.28, 96.68, 98.36).

    python experiments/loss_vs_wt.py                                      # built-in category
    python experiments/loss_vs_wt.py --root mvtec_ad --categories bottle --seeds 3

Cost: three models a category and seed, each that of mvtec.py.
"""

from wtflow_jax.lab import Experiment, Rows, Setup, Variants, paper, views
from wtflow_jax.support.console import Table, number

MAPS = ("none", "batch_norm", "layer_norm")


def variants(setup: Setup) -> Variants:
    """Return the paper's three maps, without the position embedding."""
    return {wt: {"wt": wt, "position": False} for wt in MAPS}


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return AUROC and loss a map, and the losses beside the paper's."""
    theirs, categories = paper.table("X"), views.names(rows, "category")
    auroc = {wt: (theirs["image"][f"{wt} 768"].value, None) for wt in MAPS}
    losses = []
    for wt in views.names(rows, "variant"):
        parts = [views.pick(rows, category=name, variant=wt) for name in categories]
        ours = [number(*views.over_seeds(part, "loss"), 3) for part in parts]
        figures = [theirs["loss"][f"{wt} {width}"].value for width in (512, 768)]
        losses.append([wt, *ours, *(number(value, None, 3) for value in figures)])
    columns = ["WT map", *categories, "paper, width 512", "paper, width 768"]
    return [
        Table("Training loss by WT map, mean over the last ten epochs", columns, losses),
        views.by_variant(rows, "AUROC in % by WT map", "WT map", auroc),
    ]


EXPERIMENT = Experiment("loss_vs_wt", __doc__, show, variants)

if __name__ == "__main__":
    EXPERIMENT.command()
