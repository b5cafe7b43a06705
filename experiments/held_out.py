"""Choose α and rank of ``whiten`` from training images alone.

Claim, this library's own: without a test image, the held-out likelihood of good images picks α from
0.1 to 0.3 for aligned objects and 0.8 for textures.

    python experiments/held_out.py                                      # a built-in category
    python experiments/held_out.py --root mvtec_ad --categories bottle
    python experiments/held_out.py --root mvtec_ad

Training images are held out in five folds. The likelihood is that of ``whitening``. A last table
has ‖x0‖²/D of training and test images with and without the fitted scale (Lemma 6), and the excess
kurtosis of x0. Cost: a minute per category on two CPU cores. Findings: docs/appendix/geometry.md.
"""

import jax.numpy as jnp
import numpy as np
from scipy.stats import kurtosis

from wtflow_jax.detector import detector
from wtflow_jax.flow.maps import power, whitening
from wtflow_jax.lab import Experiment, Job, Row, Rows, Setup, store, views
from wtflow_jax.support.console import Table
from wtflow_jax.support.errors import WTFlowError

ALPHAS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0)
RANKS = (8, 32, 64, 128)


def run(job: Job) -> Row:
    """Hold out, fit and score; return the category's entry."""
    config, wt = job.config, job.config.wt
    if not isinstance(wt, whitening.Whiten):
        raise WTFlowError(f"--wt {config.flow.wt}: held_out.py needs whiten; leave --wt out")
    ready = job.ready(both_kinds=True)
    train, test, labels = job.training(ready, whitening.FOLDS), ready.splits.test, ready.labels
    advance = job.track(f"{job.name}: held out", len(ALPHAS) + len(RANKS) + 1)
    x = power(jnp.asarray(train), config.flow.power)

    def likelihood(alpha: float, rank: int) -> float:
        advance()
        return float(whitening.held_out_log_likelihood(x, alpha=alpha, rank=rank))

    entry: Row = {
        "alpha": {str(alpha): likelihood(alpha, wt.rank) for alpha in ALPHAS},
        "rank": {str(rank): likelihood(wt.alpha, rank) for rank in RANKS},
    }
    fitted, _ = detector.init(config, jnp.asarray(train))

    def moments(maps: np.ndarray) -> dict[str, float]:
        """Return ‖x0‖²/D, the same without the fitted scale, and the elements' excess kurtosis."""
        x0 = np.concatenate([*store.chunks(fitted, maps)])
        square = float(np.mean(np.square(x0)))
        unscaled = square / float(fitted.stats.scale) ** 2
        return {"square": square, "unscaled": unscaled, "kurtosis": float(kurtosis(x0.ravel()))}

    parts = {"training": train, "good": test[~labels], "defective": test[labels]}
    entry["moments"] = {name: moments(maps) for name, maps in parts.items()}
    advance()
    return entry


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return one table per choice and one of the norms."""
    by = "held-out log-likelihood, nats an element"
    found = [views.choices(rows, "alpha", f"α: {by}"), views.choices(rows, "rank", f"rank: {by}")]

    def cell(part: dict[str, float]) -> str:
        return f"{part['square']:.2f} ({part['unscaled']:.2f}), {part['kurtosis']:.1f}"

    body = [[row["category"], *map(cell, row["moments"].values())] for row in rows]
    title = "‖x0‖²/D (without the fitted scale), excess kurtosis of the elements of x0"
    return [*found, Table(title, ["category", "training", "good", "defective"], body)]


GIVEN = {"velocity": "exact", "wt": "whiten"}
EXPERIMENT = Experiment("held_out", __doc__, show, measure=run, given=GIVEN)
EXPERIMENT.command(__name__)
