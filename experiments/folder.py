"""WT-Flow on your own images: good ones are enough to train.

    python experiments/folder.py --root path/to/images --validation 0.1

``good/`` holds the good images, nested as you like. Every other directory is a kind of defect;
``masks/KIND/`` may hold masks of its images. If the directory holds only images, all are good. A
fifth of the good images is for tests; with ``--validation`` some of the others set the threshold.
Without defects there is no AUROC, without masks no pixel AUROC; scores, maps and threshold are
written anyway. Cost: like mvtec.py.
"""

from wtflow_jax.lab import data_set

EXPERIMENT = data_set("folder", __doc__, data="folder")
EXPERIMENT.command(__name__)
