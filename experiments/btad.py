"""WT-Flow on BTAD, three industrial products. The paper has no figures for it.

    python -m wtflow_jax.datasets check btad path/to/btad
    python experiments/btad.py --root path/to/btad

Cost: like mvtec.py, with two to four times the images per category. Not run here yet: no data at
hand (docs/results.md).
"""

from wtflow_jax.lab import data_set

EXPERIMENT = data_set("btad", __doc__, data="btad")
EXPERIMENT.command(__name__)
