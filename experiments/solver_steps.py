"""Solvers and their steps: AUROC, network evaluations and seconds, with every WT map (Table VII).

Claim: pixel AUROC at 1, 10, 20, 100, 200 and 400 Euler steps is 86.52, 96.02, 96.19, 95.86, 95.95
and 95.90 for none, 97.53 falling to 97.38 for batch_norm, and 97.95 falling to 97.85 for
layer_norm: with a WT map one step is best (means over MVTec AD, Wide-ResNet-50-2, width 768).

    python experiments/solver_steps.py                                      # built-in category
    python experiments/solver_steps.py --root mvtec_ad --categories bottle

Beyond the paper: Heun, midpoint, Tsit5 and Dopri5 in equal steps, Dopri5 in adaptive ones, and how
far each ends from a solution to a tolerance of 1e-5 (root mean square of an element). Figures are
those of the last epoch; seconds are of one pass over the test images after compilation. ``--wt``,
``--solver`` and the steps are not read. Cost: three models a category, and some 2,300 network
evaluations of each test image with each.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from wtflow_jax import metrics
from wtflow_jax.detector import detector, inference
from wtflow_jax.detector.config import Config
from wtflow_jax.flow import ode, scores
from wtflow_jax.lab import common, interrupts, loader, measuring, paper, training, views
from wtflow_jax.metrics import summary
from wtflow_jax.support import tables
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.progress import bars

STEPS = {
    "euler": (1, 2, 5, 10, 20, 50, 100, 200, 400),
    "heun": (1, 2, 5, 10, 20, 50, 100),
    "midpoint": (1, 2, 5, 10, 20, 50, 100),
    "tsit5": (1, 2, 5, 10, 20),
    "dopri5": (1, 2, 5, 10, 20),
}
TOLERANCES = (1e-1, 1e-2, 1e-3)
REFERENCE = 1e-5
"""Tolerance of the solution that distances are to."""

Ends = Float[np.ndarray, "n h w c"]
Solve = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Of a batch of x0, the endpoints and the network evaluations of each image."""


def equal(fitted: detector.Detector, solver: str, steps: int) -> Solve:
    """Return a solve in equal steps."""
    once, per_step = ode.EVALUATIONS[solver]

    def solve(x0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        push = partial(ode.push_forward, fitted.velocity_fn, fitted.params)
        evaluations = np.full(len(x0), once + per_step * steps)
        return np.asarray(push(x0, steps=steps, solver=solver)), evaluations

    return solve


def adaptive(fitted: detector.Detector, tolerance: float) -> Solve:
    """Return a Dopri5 solve in steps as long as the tolerance allows."""

    def solve(x0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        push = partial(ode.push_forward_adaptive, fitted.velocity_fn, fitted.params)
        found = push(x0, tolerance=jnp.float32(tolerance))
        return np.asarray(found.x1), np.asarray(found.evaluations)

    return solve


def over_images(solve: Solve, x0: Ends) -> tuple[Ends, float, float]:
    """Return endpoints, mean evaluations an image and seconds, of batches of one shape.

    The last batch begins earlier where images are short of a multiple; its repeats cost time too.
    """
    size = min(detector.BATCH, len(x0))
    solve(x0[:size])
    start, ends, evaluations = time.perf_counter(), [], []
    for first in range(0, len(x0), size):
        at = min(first, len(x0) - size)
        end, count = solve(x0[at : at + size])
        ends.append(end[first - at :])
        evaluations.append(count[first - at :])
    seconds = time.perf_counter() - start
    return np.concatenate(ends), float(np.concatenate(evaluations).mean()), seconds


def run(job: measuring.Job) -> dict[str, Any]:
    """Solve with every solver; the row's entries."""
    config = job.config
    if config.velocity == "exact":
        raise WTFlowError("--velocity exact: singular at t = 0, where solves start; give unet")
    if config.start:
        raise WTFlowError(f"--start {config.start}: solves start at t = 0; give --start 0")
    with bars() as progress:
        data = job.loader.data(config, job.category, progress)
        model = training.obtain(config, job.category.name, data.splits, progress)
        fitted = model.restore(config, data.splits)
        x0 = np.asarray(detector.apply_wt(fitted, jnp.asarray(data.splits.test)))
        most = 10 if config.smoke else max(map(max, STEPS.values()))
        solves: dict[tuple[str, str], Solve] = {
            (solver, str(steps)): equal(fitted, solver, steps)
            for solver, counts in STEPS.items()
            for steps in counts
            if steps <= most
        }
        solves |= {("dopri5", f"adaptive {tol:g}"): adaptive(fitted, tol) for tol in TOLERANCES}
        name = f"{job.category.name}, {config.wt}: solvers"
        task = progress.add_task(name, total=len(solves) + 1, note="reference")
        reference, evaluations, _ = over_images(adaptive(fitted, REFERENCE), x0)
        progress.advance(task)
        found = []
        for (solver, steps), solve in solves.items():
            progress.update(task, note=f"{solver} {steps}")
            found.append({"solver": solver, "steps": steps} | _figures(job, data, solve, x0))
            ends = found[-1].pop("ends")
            found[-1]["distance"] = float(np.sqrt(np.mean(np.square(ends - reference))))
            progress.advance(task)
    return {"model": model.directory.name, "reference_evaluations": evaluations, "solves": found}


def _figures(job: measuring.Job, data: loader.Data, solve: Solve, x0: Ends) -> dict[str, Any]:
    config, test = job.config, data.test
    ends, evaluations, seconds = over_images(solve, x0)
    cells = np.asarray(_cells(ends, config.score))
    prediction = inference.finish(
        inference.CellPrediction(cells, cells),
        test.upsamplings[config.centres],
        config.top_fraction,
    )
    masks, known = test.masks, test.known
    pixel = None if masks is None else metrics.auroc(prediction.maps[known], masks[known])
    return {
        "image_auroc": summary.percent(metrics.auroc(prediction.scores, test.labels)),
        "pixel_auroc": summary.percent(pixel),
        "evaluations": evaluations,
        "seconds": seconds,
        "ends": ends,
    }


_cells = jax.jit(scores.cell_scores, static_argnames="score")


def variants(config: Config) -> dict[str, common.Changes]:
    """Return the paper's three maps."""
    return {wt: {"wt": wt} for wt in views.HEADLINE}


def show(config: Config, rows: views.Rows) -> list[tables.Table]:
    """Return Table VII beside ours, and a table of all solvers a category and map."""
    counts = list(map(str, STEPS["euler"]))
    theirs = paper.table("VII")
    euler = []
    for row in rows:
        by_steps = {s["steps"]: s for s in row["solves"] if s["solver"] == "euler"}
        cells = [tables.number(by_steps.get(n, {}).get("pixel_auroc")) for n in counts]
        euler.append([f"{row['category']}, {row['variant']}", *cells])
    for wt in views.names(rows, "variant"):
        figures = theirs[views.HEADLINE[wt]]
        cells = [tables.number(figures[n].value) if n in figures else tables.NONE for n in counts]
        euler.append([f"paper, {wt}", *cells])
    title = "Pixel AUROC in % by Euler steps"
    found = [tables.Table(title, ["category, WT map", *counts], euler)]
    columns = ["solver", "steps", "image", "pixel", "evaluations", "seconds", "distance"]
    for row in rows:
        body = [
            [
                solve["solver"],
                solve["steps"],
                tables.number(solve["image_auroc"]),
                tables.number(solve["pixel_auroc"]),
                f"{solve['evaluations']:.0f}",
                f"{solve['seconds']:.2f}",
                f"{solve['distance']:.2g}",
            ]
            for solve in row["solves"]
        ]
        title = f"Solvers: {row['category']}, {row['variant']}, {config.backbone}"
        found.append(tables.Table(title, columns, body))
    return found


EXPERIMENT = common.Experiment("solver_steps", __doc__ or "", show, variants, run)

if __name__ == "__main__":
    sys.exit(common.main(EXPERIMENT, sys.argv[1:]))
