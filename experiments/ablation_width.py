"""How wide must the network be, for each WT map (Table IV, suppl. Tables XV and XVI)?

Claim: from width 128 to 768 ``none`` gains 21.7 points in detection and 6.9 in localization,
``layer_norm`` 7.0 and 1.1: the map does what width cannot (means over MVTec AD, Wide-ResNet-50-2).

    python experiments/ablation_width.py                                      # built-in category
    python experiments/ablation_width.py --root mvtec_ad --categories bottle
    python experiments/ablation_width.py --root mvtec_ad --preset paper       # needs a GPU

Widths 32, 64 and 128; with ``--preset paper`` the paper's 128 to 768, with the position embedding
(pos) where the paper has it. ``--width`` and ``--position`` are ignored. Cost: nine models per
category; a model of width 128 costs about twelve times that of mvtec.py.
"""

from collections.abc import Mapping
from itertools import product

from wtflow_jax.lab import Experiment, Rows, Setup, Variants, paper, views
from wtflow_jax.support.console import Table, number


def variants(setup: Setup) -> Variants:
    """Return each combination of map and width, by the paper's names."""
    widths = ("8", "16") if setup.run.smoke else ("32", "64", "128")
    labels = [" ".join(pair) for pair in product(views.HEADLINE, widths)]
    if setup.run.preset == "paper":
        labels = list(paper.table("IV")["image"])
    words = {label: label.split() for label in labels}
    return {
        label: {"wt": wt, "width": int(width), "position": bool(position)}
        for label, (wt, width, *position) in words.items()
    }


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return image and pixel AUROC and loss per map and width, then AUROC per category."""
    title, theirs = "AUROC in % by WT map and width", paper.auroc("IV")
    found = [views.by_variant(rows, title, "WT map, width", theirs, ("loss",))]
    for (metric, word), table in zip(views.ROW_IN_PAPER.items(), ("S-XV", "S-XVI"), strict=True):
        theirs = paper.table(table)
        settings = dict.fromkeys([*views.names(rows, "variant"), *theirs["mean"]])
        body = [
            [name, *(_beside(part, metric, setting, theirs[name]) for setting in settings)]
            for name, part in views.by(rows, "category").items()
            if name in theirs
        ]
        if body:
            title = f"Table {table}: {word} AUROC in %, the paper's in brackets"
            found.append(Table(title, ["category", *settings], body))
    return found


def _beside(rows: Rows, metric: str, setting: str, theirs: Mapping[str, paper.Figure]) -> str:
    value, _ = views.over_seeds(views.pick(rows, variant=setting), metric)
    return number(value) + (f" ({theirs[setting].value:.1f})" if setting in theirs else "")


EXPERIMENT = Experiment("ablation_width", __doc__, show, variants)
EXPERIMENT.command(__name__)
