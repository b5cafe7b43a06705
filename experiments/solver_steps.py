"""Solvers and their steps: AUROC, network evaluations and seconds, with every WT map (Table VII).

Claim: pixel AUROC at 1, 10, 20, 100, 200 and 400 Euler steps is 86.52, 96.02, 96.19, 95.86, 95.95
and 95.90 for ``none``. It falls from 97.53 to 97.38 for ``batch_norm`` and from 97.95 to 97.85 for
``layer_norm``: with a WT map one step is best (means over MVTec AD, Wide-ResNet-50-2, width 768).

    python experiments/solver_steps.py                                      # built-in category
    python experiments/solver_steps.py --root mvtec_ad --categories bottle

Beyond the paper: Diffrax's other solvers in equal steps, and Dopri5 in adaptive steps. "distance"
is from a solution to a tolerance of 1e-5 (root mean square over elements). "back at x0" is the
distance from x0 after solving backwards, for the first images. solvers.png draws distance and AUROC
against the evaluations of the velocity, which may be a closed form (``--velocity gaussian``).
Figures are for the last epoch; seconds are for one pass over the test images after compilation.
``--wt``, ``--solver`` and the steps are ignored. Cost: three models per category, with about 4,000
evaluations of each test image per model.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from wtflow_jax.detector.detector import CHUNK
from wtflow_jax.flow import ode
from wtflow_jax.lab import Experiment, Job, Row, Rows, Setup, grid, paper, views
from wtflow_jax.lab.measuring import aurocs
from wtflow_jax.support.batches import in_batches
from wtflow_jax.support.console import NONE, Table, number

STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 400)
MOST = {"euler": 400, "heun": 100, "midpoint": 100, "ralston": 100}
MOST |= {"bosh3": 50, "tsit5": 20, "dopri5": 20, "dopri8": 10}
TOLERANCES = (1e-1, 1e-2, 1e-3)
REFERENCE = 1e-5
"""Tolerance of the reference solution."""


def run(job: Job) -> Row:
    """Solve with every solver; return the row's entries."""
    job.check_start()
    ready = job.ready()
    model = job.obtain(ready)
    x0 = np.asarray(model.detector.x0(jnp.asarray(ready.splits.test)))
    field = job.config.velocity.velocity_fn(), model.detector.params
    limit = 2 if job.setup.run.smoke else max(STEPS)

    # Return endpoints of a batch of x0, and the network evaluations of each image.
    def equal(name: str, steps: int, x0: np.ndarray) -> tuple[Any, Any]:
        solver: ode.Solver = ode.SOLVERS.make(name)
        evaluations = np.full(len(x0), solver.first + solver.each * steps)
        return ode.push_forward(*field, jnp.asarray(x0), steps=steps, solver=solver), evaluations

    def adaptive(tolerance: float, x0: np.ndarray) -> tuple[Any, Any]:
        return ode.push_forward_adaptive(*field, jnp.asarray(x0), tolerance=jnp.float32(tolerance))

    def returned(name: str, steps: int, ends: np.ndarray) -> np.ndarray:
        solver: ode.Solver = ode.SOLVERS.make(name)
        return np.asarray(ode.pull_back(*field, jnp.asarray(ends), steps=steps, solver=solver))

    solves: dict[tuple[str, str], Callable[[np.ndarray], tuple[Any, Any]]] = {
        (name, str(steps)): partial(equal, name, steps)
        for name, most in MOST.items()
        for steps in STEPS
        if steps <= min(most, limit)
    }
    solves |= {("dopri5", f"adaptive {tol:g}"): partial(adaptive, tol) for tol in TOLERANCES}
    advance = job.track(f"{job.name}, {job.config.flow.wt}: solvers", len(solves))
    size = min(CHUNK, len(x0))
    reference, evaluations = in_batches(partial(adaptive, REFERENCE), size, x0)
    entry: Row = {"model": model.directory.name, "solves": []}
    entry["reference_evaluations"] = float(evaluations.mean())
    for (solver, steps), solve in solves.items():
        # Compiled before the clock starts.
        in_batches(solve, size, x0[:size])
        start = time.perf_counter()
        ends, evaluations = in_batches(solve, size, x0)
        seconds = time.perf_counter() - start
        image, pixel = aurocs(job, ready, ends, job.config.score)
        solved = {
            "solver": solver,
            "steps": steps,
            "image_auroc": image,
            "pixel_auroc": pixel,
            "evaluations": float(evaluations.mean()),
            "seconds": seconds,
            "distance": float(np.sqrt(np.mean(np.square(ends - reference)))),
            "returned": None,
        }
        if steps.isdigit():
            back = returned(solver, int(steps), ends[:size]) - x0[:size]
            solved["returned"] = float(np.sqrt(np.mean(np.square(back))))
        entry["solves"].append(solved)
        advance(1, f"{solver} {steps}")
    job.out.mkdir(parents=True, exist_ok=True)
    draw(entry["solves"]).savefig(job.out / "solvers.png", dpi=100)
    return entry


def draw(solves: list[Row]) -> Figure:
    """Draw each solver's distance from the solution, and the AUROC, by evaluations."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    columns = {
        "distance": "distance from the solution",
        "image_auroc": "image AUROC in %",
        "pixel_auroc": "pixel AUROC in %",
    }
    for panel, (column, label) in zip(panels, columns.items(), strict=True):
        for name in dict.fromkeys(solve["solver"] for solve in solves):
            for adaptive, style in ((False, "-"), (True, ":")):
                own = [
                    s
                    for s in solves
                    if s["solver"] == name and s["steps"].startswith("adaptive") == adaptive
                ]
                own = sorted((s["evaluations"], s[column]) for s in own if s[column] is not None)
                if own:
                    named = f"{name}, adaptive" if adaptive else name
                    panel.plot(*zip(*own, strict=True), style, marker=".", label=named)
        panel.set(xscale="log", xlabel="evaluations of the velocity", ylabel=label)
        panel.grid(alpha=0.3)
    panels[0].set_yscale("log")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return figure


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return Table VII beside ours, and one table of all solvers per category and map."""
    counts = list(map(str, STEPS))
    digits = {"image_auroc": 2, "pixel_auroc": 2, "evaluations": 0, "seconds": 2}
    columns = ["solver", "steps", "image", "pixel", "evaluations", "seconds", "distance"]
    columns += ["back at x0"]
    euler, others = list[tuple[str, dict[str, float | None]]](), []
    for row in rows:
        name, solves = f"{row['category']}, {row['variant']}", row["solves"]
        ours = {s["steps"]: s["pixel_auroc"] for s in solves if s["solver"] == "euler"}
        euler.append((name, ours))
        body = []
        for solve in solves:
            figures = [number(solve[name], None, count) for name, count in digits.items()]
            far = [
                NONE if d is None else f"{d:.2g}"
                for d in (solve["distance"], solve.get("returned"))
            ]
            body.append([solve["solver"], solve["steps"], *figures, *far])
        title = f"Solvers: {name}, {setup.config().features.backbone}"
        others.append(Table(title, columns, body))
    for wt in views.names(rows, "variant"):
        theirs = paper.table("VII")[views.HEADLINE[wt]]
        euler.append((f"paper, {wt}", {steps: cell.value for steps, cell in theirs.items()}))
    body = [[name, *(number(by.get(steps)) for steps in counts)] for name, by in euler]
    return [Table("Pixel AUROC in % by Euler steps", ["category, WT map", *counts], body), *others]


EXPERIMENT = Experiment("solver_steps", __doc__, show, lambda setup: grid(wt=views.HEADLINE), run)
EXPERIMENT.command(__name__)
