"""The paper's theorems on a trained field and on the exact one, over real features.

Theorem 2 (local Lipschitz constants against their bound), Proposition 1 (the first velocity points
to the origin), Proposition 2 (it is opposite or orthogonal to optimal transport), the initial
singularity (how far the network is from the exact field, by time), and the likelihood that the
density proxy of Eq. 2 replaces.

    python experiments/geometry.py                                      # a built-in category
    python experiments/geometry.py --root mvtec_ad --categories bottle --wt none

Cost: that of mvtec.py and some minutes more. What was found: docs/geometry.md.
"""

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from wtflow_jax import metrics
from wtflow_jax.detector.detector import Detector
from wtflow_jax.flow import ode, scores
from wtflow_jax.flow.types import Features, Params, VelocityFn
from wtflow_jax.geometry import (
    empirical_velocity,
    field_error,
    lipschitz_bound,
    lipschitz_profile,
    ot_angle,
)
from wtflow_jax.lab import Experiment, Job, Row, Rows, Setup, main
from wtflow_jax.metrics.summary import percent
from wtflow_jax.support.console import NONE, Table, bars
from wtflow_jax.support.errors import WTFlowError

TIMES = (0.001, 0.01, 0.03, 0.1, 0.3, 0.6, 0.9)
SAMPLES = 8
"""Samples whose Lipschitz constants are taken."""
STEPS = 20
"""Of the likelihood's solver."""


def by_time(
    velocity_fn: VelocityFn, params: Params, x0: Features, test: Features, key: jax.Array
) -> dict[str, list[float]]:
    """Compare network and exact field on x_t of training images, on a grid of times."""
    times = jnp.asarray(TIMES)
    x = x0[:SAMPLES]
    network = lipschitz_profile(velocity_fn, params, x, times, key)
    exact = lipschitz_profile(empirical_velocity, x0, x, times, key)
    compare = partial(field_error, velocity_fn, params, empirical_velocity, x0)
    error, unseen = compare(x, times, key), compare(test[:SAMPLES], times, key)
    bound = lipschitz_bound(times, int(np.prod(x0.shape[1:])))
    columns = {
        "t": times,
        "network, space": network.space.mean(1),
        "exact, space": exact.space.mean(1),
        "1/t": 1 / times,
        "bound": bound,
        "network, time": network.time.mean(1),
        "exact, time": exact.time.mean(1),
        "error, training": error.error,
        "exact², training": error.reference,
        "error, test": unseen.error,
        "exact², test": unseen.reference,
    }
    return {name: np.asarray(column).tolist() for name, column in columns.items()}


def at_the_start(
    velocity_fn: VelocityFn, params: Params, x0: Features, key: jax.Array
) -> dict[str, float | None]:
    """Test Propositions 1 and 2 on one minibatch: all training images, as many Gaussian draws."""
    v = jax.lax.map(partial(velocity_fn, params, jnp.zeros(())), x0)
    flat, speed = (np.asarray(part, np.float64).reshape(len(x0), -1) for part in (x0, v))
    norms, speeds = np.linalg.norm(flat, axis=1), np.linalg.norm(speed, axis=1)
    x1 = jax.random.normal(key, x0.shape)
    angles = ot_angle(velocity_fn, params, x0, x1)
    # LN gives all the same norm; what is left is rounding.
    varies = norms.std() > 1e-3 * norms.mean()
    return {
        "cosine of v and −x0": float(np.mean(-np.sum(flat * speed, axis=1) / (norms * speeds))),
        "‖v‖/‖x0‖": float(np.mean(speeds / norms)),
        "correlation of ‖v‖ and ‖x0‖": float(np.corrcoef(norms, speeds)[0, 1]) if varies else None,
        "cosine of v and the OT displacement": float(angles.whole.mean()),
        "largest of them": float(angles.whole.max()),
        "cosine of their tangential parts": float(angles.tangential.mean()),
        "cosine of v and the tangential OT": float(angles.tangent.mean()),
        "normal parts agree, share": float(np.mean(angles.normal > 0)),
        "normal share of the squared OT": float(angles.normal_share.mean()),
    }


def likelihood(
    fitted: Detector, x0: Features, labels: np.ndarray, key: jax.Array, steps: int
) -> dict[str, float | None]:
    """Return image AUROC in % of log-likelihood, density proxy and ‖x̂1‖, all of whole maps."""
    field = fitted.config.velocity.velocity_fn(), fitted.params
    solve = partial(ode.push_forward, *field, steps=steps)
    ends = np.concatenate([solve(x0[i : i + 1]) for i in range(len(x0))])
    log_p = np.concatenate(
        [
            ode.log_likelihood(
                *field,
                x0[i : i + 1],
                jax.random.fold_in(key, i),
                steps=steps,
                solver=ode.EULER,
            )
            for i in range(len(x0))
        ]
    )
    proxy = np.asarray(scores.density_proxy(jnp.asarray(ends))).reshape(len(x0), -1).mean(1)
    gaussian = np.linalg.norm(ends.reshape(len(x0), -1), axis=1)
    return {
        "negative log-likelihood": percent(metrics.auroc(-log_p, labels)),
        "log-volume change alone": percent(metrics.auroc(-(log_p + gaussian**2 / 2), labels)),
        "‖x̂1‖": percent(metrics.auroc(gaussian, labels)),
        "mean density proxy": percent(metrics.auroc(proxy, labels)),
        "bits per element, good": float(-log_p[~labels].mean() / np.log(2) / ends[0].size),
        "bits per element, defective": float(-log_p[labels].mean() / np.log(2) / ends[0].size),
    }


def run(job: Job) -> Row:
    """Obtain the model, and question its field; the category's entry."""
    config, flow = job.config, job.config.flow
    if not config.velocity.trained:
        raise WTFlowError(
            f"--velocity {flow.velocity}: geometry.py compares a network with it; give unet"
        )
    if flow.target != "gaussian":
        raise WTFlowError(f"--target {flow.target}: the exact field has gaussian; give that")
    keys = jax.random.split(jax.random.key(config.training.seed), 3)
    with bars() as track:
        ready = job.ready(track, both_kinds=True)
        labels = ready.labels
        model = job.obtain(ready, track)
        fitted, advance = model.detector, track(f"{job.name}: geometry", 3)
        x0, test = (
            fitted.x0(jnp.asarray(maps)) for maps in (ready.splits.in_memory(), ready.splits.test)
        )
        field = config.velocity.velocity_fn(), fitted.params
        entry: Row = {
            "loss": model.history[-1]["loss"],
            "start": at_the_start(*field, x0, keys[0]),
        }
        advance(1, "times")
        entry["times"] = by_time(*field, x0, test[~labels], keys[1])
        advance(1, "likelihood")
        steps = 2 if job.setup.run.smoke else STEPS
        entry["likelihood"] = likelihood(fitted, test, labels, keys[2], steps)
        advance(1, "done")
    return entry


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return a table of single figures and one by time, for each category."""
    found = []
    for row in rows:
        body = [
            [quantity, NONE if value is None else f"{value:.4g}"]
            for part in ("start", "likelihood")
            for quantity, value in row[part].items()
        ]
        title = f"{row['category']}, WT map {setup.config().flow.wt}"
        found.append(Table(title, ["quantity", "value"], body))
        times = [[name, *(f"{v:.3g}" for v in values)] for name, values in row["times"].items()]
        title = f"{row['category']}: ‖∂v/∂x‖, ‖∂v/∂t‖ and mean squares an element, by t"
        found.append(Table(title, times[0], times[1:]))
    return found


EXPERIMENT = Experiment("geometry", __doc__ or "", show, measure=run)


if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
