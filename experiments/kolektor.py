"""WT-Flow on KolektorSDD, cracks in commutators, one category. The paper has no figures for it.

    python -m wtflow_jax.datasets check kolektor_sdd path/to/kolektor
    python experiments/kolektor.py --root path/to/kolektor --image-size 1280x512

There is no official one-class split: ``wtflow_jax.data.kolektor`` says which images test. Images
are two and a half times as high as wide, so give a size of that shape. Cost: like mvtec.py, with
two and a half times the cells. Not run here yet: no data at hand (docs/results.md).
"""

from wtflow_jax.lab import data_set

EXPERIMENT = data_set("kolektor", __doc__, data="kolektor_sdd")
EXPERIMENT.command(__name__)
