"""What can be improved honestly: does it hold on every category, over three seeds?

Changes of the trained flow, alone and together, beside the published setting: position embedding,
stages 2 and 3 together, the time law that favours the middle of the path (``time_law.py`` finds the
one that favours t = 0 to be worse), and the highest pixel as image score, which ``pooling.py`` asks
for from training images alone.

    python experiments/improvements.py                                      # built-in category
    python experiments/improvements.py --root mvtec_ad --categories bottle

"gain" is over the first row, with the lowest and highest of the seeds in brackets: a change counts
where none of them is negative. Cost: five models a category and seed, each that of mvtec.py or some
more.
"""

import sys

from wtflow_jax.detector.config import Config
from wtflow_jax.lab import common, interrupts, views
from wtflow_jax.support import tables

STAGES = {"efficientnet_lite0": ("block4", "block7")}
"""The two stages of each backbone; those of a ResNet are layer2 and layer3."""


def variants(config: Config) -> dict[str, common.Changes]:
    """Return every change, and all of them together."""
    changes: dict[str, common.Changes] = {
        "position": {"position": True},
        "two stages": {"layer": STAGES.get(config.backbone, ("layer2", "layer3"))},
        "logit-normal times": {"time_law": "logit_normal"},
        "highest pixel": {"top_fraction": 0.0},
    }
    together = {flag: value for change in changes.values() for flag, value in change.items()}
    return {"as published": {}, **changes, "together": together}


def show(config: Config, rows: views.Rows) -> list[tables.Table]:
    """Return AUROC a change, and its gain over seeds."""
    title = f"AUROC in %: {config.backbone}, {config.wt}"
    columns = ["change"]
    for name in views.names(rows, "category"):
        columns += [f"{name}, image: gain", f"{name}, pixel: gain"]
    body = []
    for change in views.names(rows, "variant")[1:]:
        cells = [change]
        for name in views.names(rows, "category"):
            cells += [_gain(rows, name, change, metric) for metric in views.ROW_IN_PAPER]
        body.append(cells)
    return [
        views.by_variant(rows, title, "change", {}),
        tables.Table("Gain over the published setting, seed by seed", columns, body),
    ]


def _gain(rows: views.Rows, category: str, change: str, metric: str) -> str:
    def by_seed(variant: str) -> dict[int, float | None]:
        part = views.pick(rows, category=category, variant=variant)
        return {row["seed"]: row[metric] for row in part}

    before, after = by_seed("as published"), by_seed(change)
    pairs = [(before[seed], after[seed]) for seed in after if seed in before]
    gains = [b - a for a, b in pairs if a is not None and b is not None]
    if not gains:
        return tables.NONE
    return f"{sum(gains) / len(gains):+.2f} ({min(gains):+.2f} to {max(gains):+.2f})"


EXPERIMENT = common.Experiment("improvements", __doc__ or "", show, variants, given=Config(seeds=3))

if __name__ == "__main__":
    sys.exit(common.main(EXPERIMENT, sys.argv[1:]))
