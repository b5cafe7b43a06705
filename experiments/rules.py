"""One setting for parts that it was not tuned on: the gain of each choice of the preset auto.

Claim: each choice, made on three of bottle, screw, transistor and tire, holds on the fourth.
docs/default.md compares the one setting with each category's own best.

    python experiments/rules.py                                      # built-in category
    python experiments/rules.py --root mvtec_ad --categories bottle screw transistor

Each row changes one setting of the preset. Nothing is trained and nothing is random, so seeds have
no effect. Cost per row: a fit and the scores of all test images, half a minute on two CPU cores.
"""

from wtflow_jax.backbones import BACKBONES
from wtflow_jax.lab import Setup, Variants, comparison

BEFORE = {
    **{"layer": (), "dense": False, "by_stage": False, "by_kind": False, "power": 1.0},
    **{"alpha": 0.1, "rank": 64, "velocity": "exact", "top_fraction": 0.03},
    **{"near": 0.0, "jitter": 0.0, "blur": 0.0},
}
"""The former default of ``wtflow fit``, tuned on bottle and tire."""


def variants(setup: Setup) -> Variants:
    """Return the preset, and each alternative that was tried."""
    several = BACKBONES.find(setup.config().features.backbone).several
    return {
        "auto": {},
        "the default before": BEFORE,
        "all stages by one map": {"by_stage": False},
        "four times the cells": {"dense": True},
        "without the first stage": {"layer": several[1:]},
        "the last stage alone": {"layer": several[2:]},
        "images as they lie": {"pose": "off"},
        "images as they are lit": {"jitter": 0.0},
        "each position by itself": {"near": 0.0},
        "rank 32": {"rank": 32},
        "rank 64": {"rank": 64},
        "all directions, alpha 0.1": {"rank": 100_000, "alpha": 0.1},
        "one covariance, alpha 1": {"alpha": 1.0},
        "no root": {"power": 1.0},
        "log-density": {"score": "log_density"},
        "one kind of images": {"by_kind": False},
        "top 3 %": {"top_fraction": 0.03},
        "highest pixel": {"top_fraction": 0.0},
        "maps not blurred": {"blur": 0.0},
        "256 pixels": {"image_size": "256"},
    }


TITLES = "AUROC and AUPRO in %: {backbone}, preset auto with one change", "change"
EXPERIMENT = comparison("rules", __doc__, variants, TITLES, extra=("pixel_aupro",), preset="auto")
EXPERIMENT.command(__name__)
