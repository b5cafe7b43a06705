"""How training should draw t, if one-step inference only uses t = 0.

Claim to test, not the paper's (it draws t ~ U(0, 1)): a law that favours t = 0 improves one-step
inference. Laws: uniform; logit_normal, which favours the middle of the path; beta, Beta(1, 3),
three times the density at t = 0; stratified, uniform but spread evenly over an epoch's samples.

    python experiments/time_law.py                                      # built-in category
    python experiments/time_law.py --root mvtec_ad --categories bottle --seeds 3

Losses under different laws measure different quantities and are not comparable. "image AUROC by the
map" scores images by the one-step map, like pixels; "image" scores them after ``--steps-det``
steps. Cost: four models per category and seed, each like mvtec.py.
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
