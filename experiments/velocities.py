"""Every WT map with every velocity, over seeds: which of the two is it that finds defects?

Claim, this library's own: on a category that is far from saturated, whiten is the best map for
every velocity: it brings the image AUROC of tire (MVTec 3D-AD, ResNet-18) from 60 to 72 up to 78
to 81.

    python experiments/velocities.py                                      # a built-in category
    python experiments/velocities.py --root mvtec_ad --categories bottle

Runs none, batch_norm, layer_norm and whiten with unet, patch and exact under three seeds, each with
its own defaults; for the exact field a seed is a draw of patches. Not read: ``--wt``,
``--velocity``, and a flag that is given its default. Cost: 36 rows of mvtec.py a category, some 40
minutes on two CPU cores. What was found: docs/geometry.md.
"""

import sys
from itertools import product

from wtflow_jax.flow.maps import MAPS
from wtflow_jax.lab import Changes, Experiment, Rows, Setup, main, views
from wtflow_jax.support.console import Table
from wtflow_jax.velocities import VELOCITIES


def variants(setup: Setup) -> dict[str, Changes]:
    """Return every map with every velocity."""
    pairs = product(MAPS, VELOCITIES)
    return {f"{wt} {velocity}": {"wt": wt, "velocity": velocity} for wt, velocity in pairs}


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return image and pixel AUROC, a row a map and velocity."""
    title = f"AUROC in %, {setup.config().features.backbone}, mean ± std over seeds"
    return [views.by_variant(rows, title, "WT map, velocity", {})]


EXPERIMENT = Experiment("velocities", __doc__ or "", show, variants, given={"seeds": 3})


if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
