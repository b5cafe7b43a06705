"""A higher loss separates better: training loss and AUROC by WT map (Table X).

Claim: the loss grows from ``none`` to ``batch_norm`` to ``layer_norm`` (0.687, 0.737, 0.906 at
width 768; 0.802, 0.853, 1.011 at 512). So does image AUROC (92.20, 97.79, 99.05; 90.28, 96.68,
98.36).

    python experiments/loss_vs_wt.py                                      # built-in category
    python experiments/loss_vs_wt.py --root mvtec_ad --categories bottle --seeds 3

Cost: three models per category and seed, each like mvtec.py.
"""

from wtflow_jax.lab import Experiment, Rows, Setup, paper, views
from wtflow_jax.support.console import Table, number

MAPS = "none", "batch_norm", "layer_norm"


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return AUROC and loss per map, and the losses beside the paper's."""
    theirs, losses, categories = paper.table("X"), [], views.names(rows, "category")
    auroc = {wt: (theirs["image"][f"{wt} 768"].value, None) for wt in MAPS}
    for wt, part in views.by(rows, "variant").items():
        ours = [views.over_seeds(views.pick(part, category=c), "loss") for c in categories]
        figures = [(theirs["loss"][f"{wt} {width}"].value, None) for width in (512, 768)]
        losses.append([wt, *(number(*figure, 3) for figure in (*ours, *figures))])
    columns = ["WT map", *categories, "paper, width 512", "paper, width 768"]
    return [
        Table("Training loss by WT map, mean over the last ten epochs", columns, losses),
        views.by_variant(rows, "AUROC in % by WT map", "WT map", auroc),
    ]


VARIANTS = {wt: {"wt": wt, "position": False} for wt in MAPS}
"""The paper's three maps, without the position embedding."""
EXPERIMENT = Experiment("loss_vs_wt", __doc__, show, lambda setup: VARIANTS)
EXPERIMENT.command(__name__)
