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

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from wtflow_jax import metrics
from wtflow_jax.detector import route
from wtflow_jax.detector.detector import CHUNK, Detector
from wtflow_jax.flow import ode, scores
from wtflow_jax.lab import Changes, Experiment, Job, Row, Rows, Setup, main, paper, views
from wtflow_jax.lab.category import Ready
from wtflow_jax.metrics.summary import percent
from wtflow_jax.support.console import NONE, Table, bars, number
from wtflow_jax.support.errors import WTFlowError

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


def equal(fitted: Detector, name: str, steps: int) -> Solve:
    """Return a solve in equal steps."""
    solver: ode.Solver = ode.SOLVERS.make(name)

    def solve(x0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        push = partial(ode.push_forward, fitted.config.velocity.velocity_fn(), fitted.params)
        evaluations = np.full(len(x0), solver.first + solver.each * steps)
        return np.asarray(push(x0, steps=steps, solver=solver)), evaluations

    return solve


def adaptive(fitted: Detector, tolerance: float) -> Solve:
    """Return a Dopri5 solve in steps as long as the tolerance allows."""

    def solve(x0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        field = fitted.config.velocity.velocity_fn(), fitted.params
        found = ode.push_forward_adaptive(*field, x0, tolerance=jnp.float32(tolerance))
        return np.asarray(found.x1), np.asarray(found.evaluations)

    return solve


def over_images(solve: Solve, x0: Ends) -> tuple[Ends, float, float]:
    """Return endpoints, mean evaluations an image and seconds, of batches of one shape.

    The last batch begins earlier where images are short of a multiple; its repeats cost time too.
    """
    size = min(CHUNK, len(x0))
    solve(x0[:size])
    start, ends, evaluations = time.perf_counter(), [], []
    for first in range(0, len(x0), size):
        at = min(first, len(x0) - size)
        end, count = solve(x0[at : at + size])
        ends.append(end[first - at :])
        evaluations.append(count[first - at :])
    seconds = time.perf_counter() - start
    return np.concatenate(ends), float(np.concatenate(evaluations).mean()), seconds


def run(job: Job) -> Row:
    """Solve with every solver; the row's entries."""
    config = job.config
    if not config.velocity.trained:
        raise WTFlowError(
            f"--velocity {config.flow.velocity}: singular at t = 0, where solves start; give unet"
        )
    if start := config.inference.start:
        raise WTFlowError(f"--start {start}: solves start at t = 0; give --start 0")
    with bars() as track:
        ready = job.ready(track)
        model = job.obtain(ready, track)
        fitted = model.detector
        x0 = np.asarray(fitted.x0(jnp.asarray(ready.splits.test)))
        most = 10 if job.setup.run.smoke else max(map(max, STEPS.values()))
        solves: dict[tuple[str, str], Solve] = {
            (solver, str(steps)): equal(fitted, solver, steps)
            for solver, counts in STEPS.items()
            for steps in counts
            if steps <= most
        }
        solves |= {("dopri5", f"adaptive {tol:g}"): adaptive(fitted, tol) for tol in TOLERANCES}
        advance = track(f"{job.name}, {config.flow.wt}: solvers", len(solves) + 1)
        reference, evaluations, _ = over_images(adaptive(fitted, REFERENCE), x0)
        advance()
        found = []
        for (solver, steps), solve in solves.items():
            ends, count, seconds = over_images(solve, x0)
            entry = {"solver": solver, "steps": steps, "evaluations": count, "seconds": seconds}
            entry["distance"] = float(np.sqrt(np.mean(np.square(ends - reference))))
            found.append(entry | _figures(job, ready, ends))
            advance(1, f"{solver} {steps}")
    return {"model": model.directory.name, "reference_evaluations": evaluations, "solves": found}


def _figures(job: Job, ready: Ready, ends: Ends) -> Row:
    asked, cells = job.config.decision, np.asarray(_cells(ends, job.config.score))
    where = ready.where[asked.centres]
    found = route.finish(route.Cells(cells, cells), where, asked.top_fraction)
    masks, known = ready.masks, ready.known
    pixel = None if masks is None else metrics.auroc(found.maps[known], masks[known])
    return {
        "image_auroc": percent(metrics.auroc(found.scores, ready.labels)),
        "pixel_auroc": percent(pixel),
    }


_cells = jax.jit(scores.cell_scores, static_argnames="score")


def variants(setup: Setup) -> dict[str, Changes]:
    """Return the paper's three maps."""
    return {wt: {"wt": wt} for wt in views.HEADLINE}


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return Table VII beside ours, and a table of all solvers a category and map."""
    counts = list(map(str, STEPS["euler"]))
    theirs = paper.table("VII")
    euler = []
    for row in rows:
        by_steps = {s["steps"]: s for s in row["solves"] if s["solver"] == "euler"}
        cells = [number(by_steps.get(n, {}).get("pixel_auroc")) for n in counts]
        euler.append([f"{row['category']}, {row['variant']}", *cells])
    for wt in views.names(rows, "variant"):
        figures = theirs[views.HEADLINE[wt]]
        cells = [number(figures[n].value) if n in figures else NONE for n in counts]
        euler.append([f"paper, {wt}", *cells])
    title = "Pixel AUROC in % by Euler steps"
    found = [Table(title, ["category, WT map", *counts], euler)]
    columns = ["solver", "steps", "image", "pixel", "evaluations", "seconds", "distance"]
    for row in rows:
        body = [
            [
                solve["solver"],
                solve["steps"],
                number(solve["image_auroc"]),
                number(solve["pixel_auroc"]),
                f"{solve['evaluations']:.0f}",
                f"{solve['seconds']:.2f}",
                f"{solve['distance']:.2g}",
            ]
            for solve in row["solves"]
        ]
        title = f"Solvers: {row['category']}, {row['variant']}, {setup.config().features.backbone}"
        found.append(Table(title, columns, body))
    return found


EXPERIMENT = Experiment("solver_steps", __doc__ or "", show, variants, run)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
