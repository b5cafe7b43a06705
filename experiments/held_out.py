"""What training images alone can decide of whiten: its α and rank.

Claim, this library's own: the held-out likelihood of good images picks α of 0.1 to 0.3 where an
object has its place and 0.8 for textures, without a test image.

    python experiments/held_out.py                                      # a built-in category
    python experiments/held_out.py --root mvtec_ad --categories bottle
    python experiments/held_out.py --root mvtec_ad --preset fine

Training images are left out a fifth at a time. The likelihood is that of ``whitening``. Last,
‖x0‖²/D of training and test images with and without the fitted scale (Lemma 6), and how heavy the
tails of x0 are. Cost: a minute a category on two CPU cores. What was found: docs/geometry.md.
"""

import sys

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.stats import kurtosis

from wtflow_jax.detector import detector
from wtflow_jax.detector.config import Config
from wtflow_jax.flow.maps import power, whitening
from wtflow_jax.lab import Experiment, Job, Row, Rows, Setup, main, views
from wtflow_jax.support.console import Table, bars, number
from wtflow_jax.support.errors import WTFlowError

ALPHAS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0)
RANKS = (8, 32, 64, 128)

Maps = Float[np.ndarray, "n h w c"]


def moments(config: Config, **splits: Maps) -> dict[str, dict[str, float]]:
    """Return by split ‖x0‖²/D, the same without the fitted scale, and the tails of the elements.

    Args:
        config: the run's.
        splits: maps by name, ``training`` those that are fitted.
    """
    fitted, _ = detector.init(config, jnp.asarray(splits["training"]))

    def of(maps: Maps) -> dict[str, float]:
        chunk = detector.CHUNK
        batches = (maps[i : i + chunk] for i in range(0, len(maps), chunk))
        x0 = np.concatenate([fitted.x0(jnp.asarray(batch)) for batch in batches])
        square = float(np.mean(np.square(x0)))
        unscaled = square / float(fitted.stats.scale) ** 2
        return {"square": square, "unscaled": unscaled, "kurtosis": float(kurtosis(x0.ravel()))}

    return {name: of(maps) for name, maps in splits.items()}


def run(job: Job) -> Row:
    """Leave out, fit and score; the category's entry."""
    config, name, wt = job.config, job.name, job.config.wt
    if not isinstance(wt, whitening.Whiten):
        raise WTFlowError(f"--wt {config.flow.wt}: held_out.py questions whiten; leave --wt away")
    with bars() as track:
        ready = job.ready(track, both_kinds=True)
        train, test, labels = ready.splits.in_memory(), ready.splits.test, ready.labels
        if len(train) < 2 * whitening.FOLDS:
            raise WTFlowError(
                f"{name}: {len(train)} training images; "
                f"give at least {2 * whitening.FOLDS} to leave a fifth of them out"
            )
        advance = track(f"{name}: held out", len(ALPHAS) + len(RANKS) + 1)
        x = power(jnp.asarray(train), config.flow.power)

        def likelihood(alpha: float, rank: int) -> float:
            value = whitening.held_out_log_likelihood(x, alpha=alpha, rank=rank)
            advance()
            return float(value)

        entry: Row = {
            "alpha": {str(alpha): likelihood(alpha, wt.rank) for alpha in ALPHAS},
            "rank": {str(rank): likelihood(wt.alpha, rank) for rank in RANKS},
        }
        parts = {"training": train, "good": test[~labels], "defective": test[labels]}
        entry["moments"] = moments(config, **parts)
        advance()
    return entry


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return a table a choice and one of the norms."""
    choices = {
        "alpha": "α: held-out log-likelihood, nats an element",
        "rank": "rank: held-out log-likelihood, nats an element",
    }
    found = []
    for name, title in choices.items():
        body = [
            [row["category"], *map(number, row[name].values()), views.best(row[name])]
            for row in rows
        ]
        found.append(Table(title, ["category", *rows[0][name], "best"], body))
    body = [
        [
            row["category"],
            *(
                f"{part['square']:.2f} ({part['unscaled']:.2f}), {part['kurtosis']:.1f}"
                for part in row["moments"].values()
            ),
        ]
        for row in rows
    ]
    title = "‖x0‖²/D (without the fitted scale), excess kurtosis of the elements of x0"
    columns = ["category", "training", "good", "defective"]
    return [*found, Table(title, columns, body)]


EXPERIMENT = Experiment(
    "held_out",
    __doc__ or "",
    show,
    measure=run,
    given={"velocity": "exact", "wt": "whiten"},
)


if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
