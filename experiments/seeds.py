"""What chance does: mean, standard deviation and 95 % interval over seeds, with and without a map.

Claim: the paper's ± of 0.01 (layer_norm) to 0.14 (none) is over the last ten epochs of one run;
from run to run, what differs?

    python experiments/seeds.py                                      # built-in category, 3 seeds
    python experiments/seeds.py --root mvtec_ad --categories bottle --seeds 10

A seed decides initial weights, order, times and targets. The interval is Student's, of the mean.
Cost: two models a category and seed, each that of mvtec.py.
"""

import sys

import numpy as np
from scipy import stats

from wtflow_jax.lab import Changes, Experiment, Rows, Setup, main, views
from wtflow_jax.support.console import NONE, Table


def variants(setup: Setup) -> dict[str, Changes]:
    """Return none and layer_norm."""
    return {wt: {"wt": wt} for wt in ("none", "layer_norm")}


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return the figures of each seed, their spread, and the spread over epochs beside it."""
    columns = [
        "category, WT map, AUROC",
        "each seed",
        "mean",
        "std",
        "95 % interval",
        "over epochs",
    ]
    body = []
    for name in views.names(rows, "category"):
        for wt in views.names(rows, "variant"):
            part = views.pick(rows, category=name, variant=wt)
            for metric in ("image", "pixel"):
                values = [row[f"{metric}_auroc"] for row in part]
                body.append([f"{name}, {wt}, {metric}", *_spread(values, part, metric)])
    return [Table(f"AUROC in % over seeds: {setup.config().features.backbone}", columns, body)]


def _spread(values: list[float | None], part: Rows, metric: str) -> list[str]:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return [NONE] * 5
    mean, interval, std = float(np.mean(known)), NONE, NONE
    if len(known) > 1:
        half = float(stats.t.ppf(0.975, len(known) - 1)) * float(stats.sem(known))
        interval, std = f"{mean - half:.2f} to {mean + half:.2f}", f"{np.std(known):.2f}"
    over_epochs = float(np.mean([row[f"{metric}_auroc_std"] for row in part]))
    each = ", ".join(f"{value:.2f}" for value in known)
    return [each, f"{mean:.2f}", std, interval, f"{over_epochs:.2f}"]


EXPERIMENT = Experiment("seeds", __doc__ or "", show, variants, given={"seeds": 3})


if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
