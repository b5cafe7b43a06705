"""No training at all: the exact field of the training patches, for every WT map.

Claim, this library's own: with the closed-form minimiser of Eq. 4 in place of a network, one step
from a small T separates defects about as well as a flow trained under the same map. Full whitening
is a better worst transport than layer_norm. Image/pixel AUROC with ``--wt whiten`` (ResNet-18):
bottle 100/98.5, tire 78.5/98.9, in about 20 seconds per category on two CPU cores with cached
features. The method of ``wtflow fit`` is simpler and better: ``rules.py``, docs/default.md.

    python experiments/exact_field.py                                     # a built-in category
    python experiments/exact_field.py --root mvtec_ad --categories bottle
    python experiments/exact_field.py --root mvtec_ad --wt layer_norm

Same as ``mvtec.py --velocity exact --wt whiten``; flags override. Why it works: docs/geometry.md.
"""

from wtflow_jax.lab import data_set

EXPERIMENT = data_set(
    "exact_field", __doc__, means="I", image="S-VIII", pixel="S-IX", velocity="exact", wt="whiten"
)
EXPERIMENT.command(__name__)
