"""The effect of the seed: mean, standard deviation and 95 % interval, with and without a map.

Claim: the paper's ± of 0.01 (layer_norm) to 0.14 (none) is over the last ten epochs of one run. How
much do runs differ?

    python experiments/seeds.py                                      # built-in category, 3 seeds
    python experiments/seeds.py --root mvtec_ad --categories bottle --seeds 10

A seed decides initial weights, order, times and targets. The interval is Student's t interval of
the mean. Cost: two models per category and seed, each like mvtec.py.
"""

import numpy as np
from scipy import stats

from wtflow_jax.lab import Experiment, Rows, Setup, grid, views
from wtflow_jax.support.console import NONE, Table

COLUMNS = ("category, WT map, AUROC", "each seed", "mean", "std", "95 % interval", "over epochs")


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return the figures of each seed, their spread, and the spread over epochs."""
    body = [
        [f"{name}, {wt}, {word}", *_spread(part, metric)]
        for name, of_category in views.by(rows, "category").items()
        for wt, part in views.by(of_category, "variant").items()
        for metric, word in views.ROW_IN_PAPER.items()
    ]
    return [Table(f"AUROC in % over seeds: {setup.config().features.backbone}", COLUMNS, body)]


def _spread(part: Rows, metric: str) -> list[str]:
    values = [row[metric] for row in part]
    if None in values:
        return [NONE] * 5
    mean, interval, std = float(np.mean(values)), NONE, NONE
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1)) * float(stats.sem(values))
        interval, std = f"{mean - half:.2f} to {mean + half:.2f}", f"{np.std(values):.2f}"
    over_epochs = np.mean([row[f"{metric}_std"] for row in part])
    each = ", ".join(f"{value:.2f}" for value in values)
    return [each, f"{mean:.2f}", std, interval, f"{over_epochs:.2f}"]


VARIANTS = grid(wt=("none", "layer_norm"))
EXPERIMENT = Experiment("seeds", __doc__, show, lambda setup: VARIANTS, given={"seeds": 3})
EXPERIMENT.command(__name__)
