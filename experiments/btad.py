"""WT-Flow on BTAD, three industrial products. The paper has no figures of it.

    python -m wtflow_jax.datasets check btad path/to/btad
    python experiments/btad.py --root path/to/btad

Cost: as mvtec.py, with two to four times the images a category. Not run here yet: no data at hand
(docs/results.md).
"""

import interrupts
import sys
from functools import partial

import common
import measuring
import views
from wtflow_jax.config import Config

EXPERIMENT = common.Experiment(
    name="btad",
    description=__doc__ or "",
    show=partial(views.data_set, views.InPaper()),
    measure=measuring.measure_and_draw,
    given=Config(data="btad"),
)

if __name__ == "__main__":
    sys.exit(common.main(EXPERIMENT, sys.argv[1:]))
