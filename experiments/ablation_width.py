"""How wide the network must be, for every WT map (Table IV, suppl. Tables XV and XVI).

Claim: from width 128 to 768 none gains 21.7 in detection and 6.9 in localization, layer_norm 7.0
and 1.1: the map does what width cannot (means over MVTec AD, Wide-ResNet-50-2).

    python experiments/ablation_width.py                                      # built-in category
    python experiments/ablation_width.py --root mvtec_ad --categories bottle
    python experiments/ablation_width.py --root mvtec_ad --preset paper       # needs a GPU

Widths 32, 64 and 128; with ``--preset paper`` the paper's 128 to 768, with the position embedding
(pos) where the paper has it. ``--width`` and ``--position`` are not read. Cost: nine models a
category, that of width 128 some twelve times mvtec.py's.
"""

import sys
from itertools import product

from wtflow_jax.lab import Changes, Experiment, Rows, Setup, main, paper, views
from wtflow_jax.support.console import Table


def variants(setup: Setup) -> dict[str, Changes]:
    """Return every map with every width, by the paper's names."""
    if setup.run.preset == "paper":
        labels = list(paper.table("IV")["image"])
    else:
        widths = (8, 16) if setup.run.smoke else (32, 64, 128)
        pairs = product(("none", "batch_norm", "layer_norm"), widths)
        labels = [f"{wt} {width}" for wt, width in pairs]
    return {label: _read(*label.split()) for label in labels}


def _read(wt: str, width: str, *position: str) -> Changes:
    return {"wt": wt, "width": int(width), "position": bool(position)}


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return image and pixel AUROC, and the loss, a width and map; each category's beside it."""
    found = [
        views.by_variant(
            rows, "AUROC in % by WT map and width", "WT map, width", paper.auroc("IV"), ("loss",)
        )
    ]
    for metric, number in (("image_auroc", "S-XV"), ("pixel_auroc", "S-XVI")):
        theirs = paper.table(number)
        known = [name for name in views.names(rows, "category") if name in theirs]
        if known:
            title = f"Table {number}: {metric.split('_')[0]} AUROC in %, the paper's in brackets"
            found.append(views.beside(rows, metric, title, {name: theirs[name] for name in known}))
    return found


EXPERIMENT = Experiment("ablation_width", __doc__ or "", show, variants)


if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
