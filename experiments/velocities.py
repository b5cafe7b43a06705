"""Every WT map with every velocity, over seeds: does the map or the velocity find defects?

Claim, this library's own: on a category far from saturation, whiten is the best map for every
velocity. It raises the image AUROC of tire (MVTec 3D-AD, ResNet-18) from between 60 and 72 to
between 78 and 81.

    python experiments/velocities.py                                      # a built-in category
    python experiments/velocities.py --root mvtec_ad --categories bottle

Runs none, batch_norm, layer_norm and whiten with every velocity under three seeds, each with its
own defaults. For the exact field the seed decides the drawn patches. Ignored: ``--wt``,
``--velocity``, and flags set to their default. Cost: 72 rows of mvtec.py per category, 24 of them
trained, about 50 minutes on two CPU cores. Findings: docs/geometry.md.
"""

from wtflow_jax.flow.maps import MAPS
from wtflow_jax.lab import comparison, grid
from wtflow_jax.velocities import VELOCITIES

EXPERIMENT = comparison(
    "velocities",
    __doc__,
    lambda setup: grid(wt=MAPS, velocity=VELOCITIES),
    ("AUROC in %, {backbone}, mean ± std over seeds", "WT map, velocity"),
    seeds=3,
)
EXPERIMENT.command(__name__)
