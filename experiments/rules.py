"""One setting for parts that nobody tuned for: what each choice of the preset auto is worth.

Claim: each choice, made for three of bottle, screw, transistor and tire, holds on the fourth; the
price of one setting beside each category's own best is in docs/default.md.

    python experiments/rules.py                                      # built-in category
    python experiments/rules.py --root mvtec_ad --categories bottle screw transistor

Each row changes the preset in one place. Nothing is trained and nothing is drawn, so that seeds
change nothing. Cost: a fit and the scores of all test images a row, half a minute on two CPU cores.
"""

from wtflow_jax.backbones import BACKBONES
from wtflow_jax.lab import Setup, Variants, comparison

BEFORE = {
    **{"layer": (), "dense": False, "by_stage": False, "by_kind": False, "power": 1.0},
    **{"alpha": 0.1, "rank": 64, "velocity": "exact", "top_fraction": 0.03},
}
"""What ``wtflow fit`` did before: tuned on bottle and tire."""


def variants(setup: Setup) -> Variants:
    """Return the preset, and every rule that was tried in its place."""
    several = BACKBONES.find(setup.config().features.backbone).several
    return {
        "auto": {},
        "the default before": BEFORE,
        "all stages by one map": {"by_stage": False},
        "four times the cells": {"dense": True},
        "without the first stage": {"layer": several[1:]},
        "the last stage alone": {"layer": several[2:]},
        "images as they lie": {"pose": "off"},
        "rank 32": {"rank": 32},
        "rank 64": {"rank": 64},
        "all directions, alpha 0.1": {"rank": 100_000, "alpha": 0.1},
        "one covariance, alpha 1": {"alpha": 1.0},
        "no root": {"power": 1.0},
        "log-density": {"score": "log_density"},
        "one kind of images": {"by_kind": False},
        "top 3 %": {"top_fraction": 0.03},
        "highest pixel": {"top_fraction": 0.0},
        "256 pixels": {"image_size": "256"},
    }


TITLES = "AUROC and AUPRO in %: {backbone}, preset auto with one change", "change"
EXPERIMENT = comparison("rules", __doc__, variants, TITLES, extra=("pixel_aupro",), preset="auto")
EXPERIMENT.command(__name__)
