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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wtflow_jax import metrics
from wtflow_jax.detector import detector
from wtflow_jax.detector.config import Config
from wtflow_jax.flow import ode, scores
from wtflow_jax.flow.types import Features, Params, VelocityFn
from wtflow_jax.geometry.empirical import empirical_velocity
from wtflow_jax.geometry.field_error import field_error
from wtflow_jax.geometry.lipschitz import lipschitz_bound, lipschitz_profile
from wtflow_jax.geometry.ot_angle import ot_angle
from wtflow_jax.lab import common, interrupts, loader, measuring, training, views
from wtflow_jax.metrics import summary
from wtflow_jax.support import tables
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.progress import bars

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
    fitted: detector.Detector, x0: Features, labels: np.ndarray, key: jax.Array, steps: int
) -> dict[str, float | None]:
    """Return image AUROC in % of log-likelihood, density proxy and ‖x̂1‖, all of whole maps."""
    solve = partial(ode.push_forward, fitted.velocity_fn, fitted.params, steps=steps)
    ends = np.concatenate([solve(x0[i : i + 1]) for i in range(len(x0))])
    log_p = np.concatenate(
        [
            ode.log_likelihood(
                fitted.velocity_fn,
                fitted.params,
                x0[i : i + 1],
                jax.random.fold_in(key, i),
                steps=steps,
                solver="euler",
            )
            for i in range(len(x0))
        ]
    )
    proxy = np.asarray(scores.density_proxy(jnp.asarray(ends))).reshape(len(x0), -1).mean(1)
    gaussian = np.linalg.norm(ends.reshape(len(x0), -1), axis=1)
    return {
        "negative log-likelihood": summary.percent(metrics.auroc(-log_p, labels)),
        "log-volume change alone": summary.percent(
            metrics.auroc(-(log_p + gaussian**2 / 2), labels)
        ),
        "‖x̂1‖": summary.percent(metrics.auroc(gaussian, labels)),
        "mean density proxy": summary.percent(metrics.auroc(proxy, labels)),
        "bits per element, good": float(-log_p[~labels].mean() / np.log(2) / ends[0].size),
        "bits per element, defective": float(-log_p[labels].mean() / np.log(2) / ends[0].size),
    }


def run(job: measuring.Job) -> dict[str, Any]:
    """Obtain the model, and question its field; the category's entry."""
    config, name = job.config, job.category.name
    if config.velocity == "exact":
        raise WTFlowError("--velocity exact: geometry.py compares a network with it; give unet")
    if config.target != "gaussian":
        raise WTFlowError(f"--target {config.target}: the exact field has gaussian; give that")
    angle_key, time_key, likelihood_key = jax.random.split(jax.random.key(config.seed), 3)
    with bars() as progress:
        splits, test_images = job.loader.data(config, job.category, progress)
        loader.both_kinds(test_images, name)
        labels = test_images.labels
        model = training.obtain(config, name, splits, progress)
        fitted, loss = model.restore(config, splits), model.history[-1]["loss"]
        task = progress.add_task(f"{name}: geometry", total=3, note="start")
        x0, test = (
            detector.apply_wt(fitted, jnp.asarray(part))
            for part in (splits.in_memory(), splits.test)
        )
        field = fitted.velocity_fn, fitted.params
        entry: dict[str, Any] = {"loss": loss, "start": at_the_start(*field, x0, angle_key)}
        progress.update(task, advance=1, note="times")
        entry["times"] = by_time(*field, x0, test[~labels], time_key)
        progress.update(task, advance=1, note="likelihood")
        steps = 2 if config.smoke else STEPS
        entry["likelihood"] = likelihood(fitted, test, labels, likelihood_key, steps)
        progress.update(task, advance=1, note="done")
    return entry


def show(config: Config, rows: views.Rows) -> list[tables.Table]:
    """Return a table of single figures and one by time, for each category."""
    found = []
    for row in rows:
        figures = [
            [quantity, tables.NONE if value is None else f"{value:.4g}"]
            for part in ("start", "likelihood")
            for quantity, value in row[part].items()
        ]
        title = f"{row['category']}, WT map {config.wt}"
        found.append(tables.Table(title, ["quantity", "value"], figures))
        times = [[name, *(f"{v:.3g}" for v in values)] for name, values in row["times"].items()]
        title = f"{row['category']}: ‖∂v/∂x‖, ‖∂v/∂t‖ and mean squares an element, by t"
        found.append(tables.Table(title, times[0], times[1:]))
    return found


EXPERIMENT = common.Experiment("geometry", __doc__ or "", show, measure=run)


if __name__ == "__main__":
    sys.exit(common.main(EXPERIMENT, sys.argv[1:]))
