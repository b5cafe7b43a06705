"""WT-Flow on MPDD, painted metal parts (Table V).

Claim: 94.2 image AUROC and 98.3 pixel AUROC over the 6 categories with layer_norm, 58.9 and 93.3
without a WT map (Wide-ResNet-50-2, width 768).

    python -m wtflow_jax.data check mpdd path/to/mpdd
    python experiments/mpdd.py --root path/to/mpdd --preset paper    # needs a GPU

Cost: as mvtec.py. Not run here yet: no data at hand (docs/results.md).
"""

import sys
from functools import partial

from wtflow_jax.detector.config import Config
from wtflow_jax.lab import common, interrupts, measuring, views

EXPERIMENT = common.Experiment(
    name="mpdd",
    description=__doc__ or "",
    show=partial(views.data_set, views.InPaper(means="V")),
    measure=measuring.measure_and_draw,
    given=Config(data="mpdd"),
)

if __name__ == "__main__":
    sys.exit(common.main(EXPERIMENT, sys.argv[1:]))
