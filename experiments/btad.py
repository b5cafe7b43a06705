"""WT-Flow on BTAD, three industrial products. The paper has no figures of it.

    python -m wtflow_jax.data check btad path/to/btad
    python experiments/btad.py --root path/to/btad

Cost: as mvtec.py, with two to four times the images a category. Not run here yet: no data at hand
(docs/results.md).
"""

import sys
from functools import partial

from wtflow_jax.detector.config import Config
from wtflow_jax.lab import common, interrupts, measuring, views

EXPERIMENT = common.Experiment(
    name="btad",
    description=__doc__ or "",
    show=partial(views.data_set, views.InPaper()),
    measure=measuring.measure_and_draw,
    given=Config(data="btad"),
)

if __name__ == "__main__":
    sys.exit(common.main(EXPERIMENT, sys.argv[1:]))
