"""Every WT map with every velocity, over seeds: which of the two is it that finds defects?

Claim, this library's own: on a category that is far from saturated, whiten is the best map for
every velocity: it brings the image AUROC of tire (MVTec 3D-AD, ResNet-18) from 60 to 72 up to 78
to 81.

    python experiments/velocities.py                                      # a built-in category
    python experiments/velocities.py --root mvtec_ad --categories bottle

Runs none, batch_norm, layer_norm and whiten with every velocity under three seeds, each with its
own defaults; for the exact field a seed is a draw of patches. Not read: ``--wt``, ``--velocity``,
and a flag that is given its default. Cost: 60 rows of mvtec.py a category, 24 of them trained, some
50 minutes on two CPU cores. What was found: docs/geometry.md.
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
