"""How training draws t, when one step of inference only ever asks for t = 0.

Claim, to be tested and not the paper's, which draws t ~ U(0, 1): a law that favours t = 0 serves
one step better. Laws: uniform; logit_normal, the middle of the path; beta, Beta(1, 3), three times
as often at t = 0; stratified, uniform but spread evenly over the samples of an epoch.

    python experiments/time_law.py                                      # built-in category
    python experiments/time_law.py --root mvtec_ad --categories bottle --seeds 3

Losses under different laws are of different quantities and not comparable. "image AUROC by the map"
scores images as pixels are, by the one-step map; "image" after ``--steps-det`` steps. Cost: four
models a category and seed, each that of mvtec.py.
"""

from wtflow_jax.flow.paths import TIME_LAWS
from wtflow_jax.lab import comparison, grid

EXPERIMENT = comparison(
    "time_law",
    __doc__,
    lambda setup: grid(time_law=TIME_LAWS),
    ("AUROC in % by time law: {backbone}, {wt}", "time law"),
    extra=("image_auroc_map",),
)
EXPERIMENT.command(__name__)
