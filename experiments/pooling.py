"""How many pixels an image score should pool, decided on training images alone (Sec. V-A: 3 %).

Claim, this library's own: blocks pasted into held-out good images suffice to choose the pooling
fraction, without a test image.

    python experiments/pooling.py                                      # a built-in category
    python experiments/pooling.py --root mvtec_ad --categories bottle
    python experiments/pooling.py --root mvtec_ad --velocity exact --wt whiten

Training images are held out in five folds. A block of cells of one held-out map is pasted at a
random place into another; its area is log-uniform from 0.3 to 5 % of the map. The detector of the
other four folds distinguishes pasted from untouched maps. Cost: five models per category. Findings:
docs/geometry.md and docs/results.md.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from wtflow_jax import metrics
from wtflow_jax.detector import detector, route
from wtflow_jax.lab import Experiment, Job, Row, Rows, Setup, views
from wtflow_jax.metrics.summary import percent
from wtflow_jax.support.console import Table

FOLDS = 5
FRACTIONS = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0)
AREA = (0.003, 0.05)
"""Smallest and largest share of the map that a pasted block covers."""
ROUNDS = 2
"""Number of pasted versions of each held-out map."""
Maps = Float[np.ndarray, "n h w c"]


def paste(maps: Maps, rng: np.random.Generator) -> Maps:
    """Paste into each map a block of cells of another map, from another place."""
    pasted = maps.copy()
    n, h, w, _ = maps.shape
    for i, target in enumerate(pasted):
        cells = h * w * np.exp(rng.uniform(*np.log(AREA)))
        aspect = np.exp(rng.uniform(-0.7, 0.7))
        rows = int(np.clip(round(np.sqrt(cells * aspect)), 1, h))
        columns = int(np.clip(round(np.sqrt(cells / aspect)), 1, w))
        places = ((rng.integers(h - rows + 1), rng.integers(w - columns + 1)) for _ in range(2))
        to, source = (np.s_[y : y + rows, x : x + columns] for y, x in places)
        target[to] = maps[(i + rng.integers(1, n)) % n][source]
    return pasted


def run(job: Job) -> Row:
    """Return AUROC in % of pasted against untouched held-out maps, by pooling fraction."""
    config, ready = job.config, job.ready()
    train, where = job.training(ready, FOLDS), ready.where[config.decision.centres]
    rng = np.random.default_rng(config.training.seed)
    found: dict[float, list[np.ndarray]] = {fraction: [] for fraction in FRACTIONS}
    labels = []
    advance = job.track(f"{job.name}: left out", FOLDS)
    for fold in range(FOLDS):
        left_out = np.arange(len(train)) % FOLDS == fold
        fitted = detector.fit(config, jnp.asarray(train[~left_out]))
        held = train[left_out]
        for pasted in (False, *[True] * ROUNDS):
            cells = route.cells(fitted, paste(held, rng) if pasted else held)
            labels += [pasted] * len(held)
            for fraction in FRACTIONS:
                found[fraction].append(route.finish(cells, where, fraction).scores)
        advance()
    areas = {
        str(fraction): percent(metrics.auroc(np.concatenate(values), np.array(labels)))
        for fraction, values in found.items()
    }
    return {"pooling": areas}


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return AUROC by fraction, and the best one."""
    flow = setup.config().flow
    title = f"AUROC in % of pasted blocks by share of pixels pooled: {flow.wt}, {flow.velocity}"
    return [views.choices(rows, "pooling", title)]


EXPERIMENT = Experiment("pooling", __doc__, show, measure=run)
EXPERIMENT.command(__name__)
