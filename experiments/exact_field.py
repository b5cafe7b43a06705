"""No training at all: the exact field of the training patches, for every WT map.

Claim, this library's own: with the closed-form minimiser of Eq. 4 in place of a network, one step
from a small T separates defects as well as the trained flow does or better, and full whitening is
a better worst transport than layer_norm. Bottle 100/98.5 and tire 78.5/98.9 with ``--wt whiten``
(ResNet-18), some 15 seconds a category on two CPU cores once the features are there.

    python experiments/exact_field.py                                     # a built-in category
    python experiments/exact_field.py --root mvtec_ad --categories bottle
    python experiments/exact_field.py --root mvtec_ad --wt layer_norm

It is ``mvtec.py --velocity exact --wt whiten``; flags change it. Why it works: docs/geometry.md.
"""

import sys
from functools import partial

import common
import paper

if __name__ == "__main__":
    arguments = ["--velocity", "exact", "--wt", "whiten", *sys.argv[1:]]
    show = partial(common.table, "Exact field", paper.MVTEC_AD)
    sys.exit(common.main(arguments, description=__doc__ or "", show=show))
