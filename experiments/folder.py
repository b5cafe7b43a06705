"""WT-Flow on images of your own: good ones are enough to train.

    python experiments/folder.py --root path/to/images --validation 0.1

``good/`` holds the good images, nested as you like; every other directory a kind of defect, and
``masks/KIND/`` the masks of some. A directory of images alone is all good. A fifth of the good
images tests, and with ``--validation`` a part of the others sets the threshold. Without defects
there is no AUROC, and without masks none of pixels: the scores, maps and threshold are written all
the same. Cost: as mvtec.py.
"""

from wtflow_jax.lab import data_set

EXPERIMENT = data_set("folder", __doc__, data="folder")
EXPERIMENT.command(__name__)
