"""WT-Flow on magnetic tiles, one category. The paper has no figures for it.

    python -m wtflow_jax.datasets check mtd path/to/mtd
    python experiments/mtd.py --root path/to/mtd

Four fifths of the good tiles train, the others and all defects test: ``wtflow_jax.data.mtd`` says
which. Cost: like mvtec.py, with four times the images. Not run here yet: no data at hand
(docs/results.md).
"""

from wtflow_jax.lab import data_set

EXPERIMENT = data_set("mtd", __doc__, data="mtd")
EXPERIMENT.command(__name__)
