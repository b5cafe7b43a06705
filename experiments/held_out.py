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
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.stats import kurtosis

from wtflow_jax.detector import detector
from wtflow_jax.detector.config import Config
from wtflow_jax.flow import transport, whitening
from wtflow_jax.lab import common, interrupts, loader, measuring, views
from wtflow_jax.support import tables
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.progress import bars

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
        batches = (maps[i : i + detector.BATCH] for i in range(0, len(maps), detector.BATCH))
        x0 = np.concatenate([detector.apply_wt(fitted, jnp.asarray(batch)) for batch in batches])
        square = float(np.mean(np.square(x0)))
        unscaled = square / float(fitted.stats.scale) ** 2
        return {"square": square, "unscaled": unscaled, "kurtosis": float(kurtosis(x0.ravel()))}

    return {name: of(maps) for name, maps in splits.items()}


def run(job: measuring.Job) -> dict[str, Any]:
    """Leave out, fit and score; the category's entry."""
    config, name = job.config, job.category.name
    if config.wt != "whiten":
        raise WTFlowError(f"--wt {config.wt}: held_out.py questions whiten; leave --wt away")
    with bars() as progress:
        splits, test_images = job.loader.data(config, job.category, progress)
        loader.both_kinds(test_images, name)
        train, test, labels = splits.in_memory(), splits.test, test_images.labels
        if len(train) < 2 * whitening.FOLDS:
            raise WTFlowError(
                f"{name}: {len(train)} training images; "
                f"give at least {2 * whitening.FOLDS} to leave a fifth of them out"
            )
        total = len(ALPHAS) + len(RANKS) + 1
        task = progress.add_task(f"{name}: held out", total=total, note="likelihood")
        x = transport.power(jnp.asarray(train), config.power)

        def likelihood(**options: Any) -> float:
            value = whitening.held_out_log_likelihood(x, **options)
            progress.advance(task)
            return float(value)

        entry: dict[str, Any] = {
            "alpha": {str(a): likelihood(alpha=a, rank=config.rank) for a in ALPHAS},
            "rank": {str(r): likelihood(alpha=config.alpha, rank=r) for r in RANKS},
        }
        progress.update(task, note="norms")
        parts = {"training": train, "good": test[~labels], "defective": test[labels]}
        entry["moments"] = moments(config, **parts)
        progress.update(task, advance=1, note="done")
    return entry


def show(config: Config, rows: views.Rows) -> list[tables.Table]:
    """Return a table a choice and one of the norms."""
    choices = {
        "alpha": "α: held-out log-likelihood, nats an element",
        "rank": "rank: held-out log-likelihood, nats an element",
    }
    found = []
    for name, title in choices.items():
        body = [
            [row["category"], *map(tables.number, row[name].values()), views.best(row[name])]
            for row in rows
        ]
        found.append(tables.Table(title, ["category", *rows[0][name], "best"], body))
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
    return [*found, tables.Table(title, columns, body)]


EXPERIMENT = common.Experiment(
    "held_out",
    __doc__ or "",
    show,
    measure=run,
    given=Config(velocity="exact", wt="whiten"),
)


if __name__ == "__main__":
    sys.exit(common.main(EXPERIMENT, sys.argv[1:]))
