"""What training images alone can decide: α and rank of whiten, and how many pixels to pool.

Claim, this library's own: the held-out likelihood of good images picks α of 0.1 to 0.2, and blocks
pasted into held-out good images pick the pooling fraction; neither needs a test image.

    python experiments/held_out.py                                      # a built-in category
    python experiments/held_out.py --root mvtec_ad --categories bottle
    python experiments/held_out.py --root mvtec_ad --preset fine

Training images are left out a fifth at a time. The likelihood is that of ``whitening``; for the
fraction a block of cells of one left-out map is laid over a random place of a second one, its area
log-uniform from 0.3 to 5 % of the map, and such maps are told from untouched ones by the detector
of the other four fifths (``--velocity exact`` unless given). Last, ‖x0‖²/D of training and test
images with and without the fitted scale (Lemma 6), and how heavy the tails of x0 are. Cost:
two minutes a category on two CPU cores, six with ``--preset fine``. What was found:
docs/geometry.md.
"""

import sys
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from rich.console import Group
from rich.table import Table
from scipy.stats import kurtosis

import category as category_run
import common
from wtflow_jax import detector, metrics, scores, transport, whitening
from wtflow_jax.backbones import features
from wtflow_jax.config import Config
from wtflow_jax.errors import WTFlowError

ALPHAS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0)
RANKS = (8, 32, 64, 128)
FRACTIONS = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0)
AREA = (0.003, 0.05)
"""Share of the map that a pasted block covers, from and to."""
ROUNDS = 2
"""Times each left-out map is pasted into."""

Maps = Float[np.ndarray, "n h w c"]


def paste(maps: Maps, rng: np.random.Generator) -> Maps:
    """Lay a block of cells of another map, from another place, over each map."""
    pasted = maps.copy()
    n, h, w, _ = maps.shape
    for i, target in enumerate(pasted):
        cells = h * w * np.exp(rng.uniform(*np.log(AREA)))
        aspect = np.exp(rng.uniform(-0.7, 0.7))
        rows = int(np.clip(round(np.sqrt(cells * aspect)), 1, h))
        columns = int(np.clip(round(np.sqrt(cells / aspect)), 1, w))
        to, source = ((rng.integers(h - rows + 1), rng.integers(w - columns + 1)) for _ in range(2))
        other = maps[(i + rng.integers(1, n)) % n]
        target[to[0] : to[0] + rows, to[1] : to[1] + columns] = other[
            source[0] : source[0] + rows, source[1] : source[1] + columns
        ]
    return pasted


def folds(count: int) -> Iterator[np.ndarray]:
    """Yield which of the samples are left out."""
    for k in range(whitening.FOLDS):
        yield np.arange(count) % whitening.FOLDS == k


def pooling(config: Config, train: Maps, upsampling: scores.Upsampling) -> dict[str, float]:
    """Return AUROC in % of pasted against untouched left-out maps, by pooling fraction."""
    rng = np.random.default_rng(config.seed)
    good: dict[float, list[np.ndarray]] = {fraction: [] for fraction in FRACTIONS}
    bad: dict[float, list[np.ndarray]] = {fraction: [] for fraction in FRACTIONS}
    for left_out in folds(len(train)):
        fitted = detector.fit(config, jnp.asarray(train[~left_out]))
        held = train[left_out]
        for found, maps in [(good, held)] + [(bad, paste(held, rng)) for _ in range(ROUNDS)]:
            cells = detector.predict_cells(fitted, maps, config)
            for fraction in FRACTIONS:
                found[fraction].append(detector.finish(cells, upsampling, fraction).scores)
    areas = {}
    for fraction in FRACTIONS:
        values = [np.concatenate(found[fraction]) for found in (good, bad)]
        labels = np.repeat([False, True], [len(part) for part in values])
        areas[str(fraction)] = 100 * metrics.auroc(np.concatenate(values), labels)
    return areas


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


def run(job: category_run.Job) -> dict[str, Any]:
    """Leave out, fit and score; the category's entry."""
    config, category = job.config, job.category
    if config.wt != "whiten":
        raise WTFlowError(f"--wt {config.wt}: held_out.py questions whiten; leave --wt away")
    labels = np.array([sample.label for sample in category.test], bool)
    with category_run.bars() as progress:
        train, test = category_run.extract(job, progress)
        if len(train) < 2 * whitening.FOLDS:
            raise WTFlowError(
                f"{category.name}: {len(train)} training images; "
                f"give at least {2 * whitening.FOLDS} to leave a fifth of them out"
            )
        total = len(ALPHAS) + len(RANKS) + 2
        task = progress.add_task(f"{category.name}: held out", total=total, note="likelihood")
        x = transport.power(jnp.asarray(train), config.power)

        def likelihood(**options: Any) -> float:
            value = whitening.held_out_log_likelihood(x, **options)
            progress.advance(task)
            return float(value)

        entry: dict[str, Any] = {
            "alpha": {str(a): likelihood(alpha=a, rank=config.rank) for a in ALPHAS},
            "rank": {str(r): likelihood(alpha=config.alpha, rank=r) for r in RANKS},
        }
        progress.update(task, note="pooling")
        grid = features.grid(job.backbone, config.dense)
        upsampling = scores.upsampling(job.size, train.shape[1:3], grid.stride, grid.offset)
        entry["pooling"] = pooling(config, train, upsampling)
        progress.update(task, advance=1, note="norms")
        parts = {"training": train, "good": test[~labels], "defective": test[labels]}
        entry["moments"] = moments(config, **parts)
        progress.update(task, advance=1, note="done")
    return entry


def show(config: Config, results: common.Results) -> Group:
    """Return a table a choice and one of the norms, the best of each row in bold."""
    choices = {
        "alpha": ("α: held-out log-likelihood, nats an element", ".2f"),
        "rank": ("rank: held-out log-likelihood, nats an element", ".2f"),
        "pooling": ("share of pixels pooled: AUROC in % of pasted blocks", ".2f"),
    }
    tables = []
    for name, (title, digits) in choices.items():
        view = Table(title=title)
        view.add_column("category")
        for category, entry in results["categories"].items():
            values = entry[name]
            if not view.rows:
                for value in values:
                    view.add_column(value, justify="right")
            best = max(values.values())
            view.add_row(
                category,
                *(
                    f"[bold]{v:{digits}}[/]" if v == best else f"{v:{digits}}"
                    for v in values.values()
                ),
            )
        tables.append(view)
    view = Table(title="‖x0‖²/D (without the fitted scale), excess kurtosis of the elements of x0")
    for name in ("category", "training", "good", "defective"):
        view.add_column(name)
    for category, entry in results["categories"].items():
        view.add_row(
            category,
            *(
                f"{part['square']:.2f} ({part['unscaled']:.2f}), {part['kurtosis']:.1f}"
                for part in entry["moments"].values()
            ),
        )
    return Group(*tables, view, f"written to {config.out / 'results.json'}")


if __name__ == "__main__":
    sys.exit(
        common.main(
            sys.argv[1:],
            name="held_out",
            description=__doc__ or "",
            show=show,
            one=run,
            given=Config(velocity="exact", wt="whiten"),
        )
    )
