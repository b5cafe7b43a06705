"""The start radius of the data: does the radius √D matter, or the map that sets it?

Claim (Sec. III-D, Fig. 5): the centripetal pull V(d) = −d grows with the radius d at which the data
start. A WT map puts them at d = √D, where transport is worst and detection best.

    python experiments/start_radius.py                                      # built-in category
    python experiments/start_radius.py --root mvtec_ad --categories bottle

x0 of each map is multiplied by a factor, so that layer_norm starts at ‖x0‖ = factor·√D. Plain rFM
starts at 0.16 to 0.18·√D on bottle and tire (ResNet-18), the paper's batch_norm at 0.22·√D (suppl.
Table XIII). Cost: ten models per category and seed, each like mvtec.py.
"""

from wtflow_jax.lab import comparison, grid

EXPERIMENT = comparison(
    "start_radius",
    __doc__,
    lambda setup: grid(wt=("batch_norm", "layer_norm"), scale=(0.1, 0.22, 0.5, 1.0, 2.0)),
    ("AUROC in % by start radius: {backbone}", "WT map, ‖x0‖/√D"),
    extra=("image_auroc_map", "loss"),
)
EXPERIMENT.command(__name__)
