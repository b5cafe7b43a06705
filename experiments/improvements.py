"""Which changes improve the trained flow on every category, over three seeds?

Changes, alone and together, beside the published setting: position embedding, stages 2 and 3
together, the time law that favours the middle of the path (in ``time_law.py`` the law that favours
t = 0 is worse), and the highest pixel as image score (``pooling.py`` picks it from training images
alone).

    python experiments/improvements.py                                      # built-in category
    python experiments/improvements.py --root mvtec_ad --categories bottle

"gain" is the mean gain over the first row, with the lowest and highest of the seeds in brackets. A
change counts if no seed loses. Cost: five models per category and seed, each like mvtec.py or
somewhat more.
"""

from wtflow_jax.backbones import BACKBONES
from wtflow_jax.lab import Experiment, Rows, Setup, Variants, views
from wtflow_jax.support.console import NONE, Table

FIRST = "as published"


def variants(setup: Setup) -> Variants:
    """Return each change, and all of them together."""
    changes = {
        "position": {"position": True},
        "two stages": {"layer": BACKBONES.find(setup.config().features.backbone).several[1:]},
        "logit-normal times": {"time_law": "logit_normal"},
        "highest pixel": {"top_fraction": 0.0},
    }
    together = {flag: value for change in changes.values() for flag, value in change.items()}
    return {FIRST: {}, **changes, "together": together}


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return AUROC per change, and its gain over seeds."""
    config, parts = setup.config(), views.by(rows, "category")
    title = f"AUROC in %: {config.features.backbone}, {config.flow.wt}"
    cases = [(name, metric) for name in parts for metric in views.ROW_IN_PAPER]
    columns = [f"{name}, {views.ROW_IN_PAPER[metric]}: gain" for name, metric in cases]
    body = [
        [change, *(_gain(parts[name], change, metric) for name, metric in cases)]
        for change in views.names(rows, "variant")[1:]
    ]
    return [
        views.by_variant(rows, title, "change", {}),
        Table("Gain over the published setting, seed by seed", ["change", *columns], body),
    ]


def _gain(rows: Rows, change: str, metric: str) -> str:
    before = {row["seed"]: row[metric] for row in views.pick(rows, variant=FIRST)}
    after = {row["seed"]: row[metric] for row in views.pick(rows, variant=change)}
    pairs = [(before.get(seed), value) for seed, value in after.items()]
    gains = [b - a for a, b in pairs if a is not None and b is not None]
    if not gains:
        return NONE
    return f"{sum(gains) / len(gains):+.2f} ({min(gains):+.2f} to {max(gains):+.2f})"


EXPERIMENT = Experiment("improvements", __doc__, show, variants, given={"seeds": 3})
EXPERIMENT.command(__name__)
