"""The paper's theorems on a trained field and on the exact one, over real features.

Theorem 2 (local Lipschitz constants and their bound). Proposition 1 (the first velocity points to
the origin). Proposition 2 (the first velocity is opposite or orthogonal to optimal transport; and
how much transport cost an optimal coupling within minibatches saves). The initial singularity (the
network's distance from the exact field, by time). The likelihood that the density proxy of Eq. 2
replaces.

    python experiments/geometry.py                                      # a built-in category
    python experiments/geometry.py --root mvtec_ad --categories bottle --wt none

Cost: like mvtec.py, plus some minutes. Findings: docs/geometry.md.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from wtflow_jax import geometry, metrics
from wtflow_jax.flow import couplings, ode, scores
from wtflow_jax.flow.types import Features, Params, VelocityFn
from wtflow_jax.lab import Experiment, Job, Row, Rows, Setup
from wtflow_jax.metrics.summary import percent
from wtflow_jax.support.console import NONE, Table
from wtflow_jax.support.errors import WTFlowError

TIMES = (0.001, 0.01, 0.03, 0.1, 0.3, 0.6, 0.9)
SAMPLES = 8
"""Number of samples for the Lipschitz constants."""
STEPS = 20
"""Solver steps of the likelihood."""
Field = tuple[VelocityFn, Params]


def by_time(field: Field, x0: Features, test: Features, key: jax.Array) -> Row:
    """Compare the network with the exact field at x_t, on a grid of times."""
    times, x, exact_field = jnp.asarray(TIMES), x0[:SAMPLES], (geometry.empirical_velocity, x0)
    network = geometry.lipschitz_profile(*field, x, times, key)
    exact = geometry.lipschitz_profile(*exact_field, x, times, key)
    error = geometry.field_error(*field, *exact_field, x, times, key)
    unseen = geometry.field_error(*field, *exact_field, test[:SAMPLES], times, key)
    columns = {
        "t": times,
        "network, space": network.space.mean(1),
        "exact, space": exact.space.mean(1),
        "1/t": 1 / times,
        "bound": geometry.lipschitz_bound(times, x0[0].size),
        "network, time": network.time.mean(1),
        "exact, time": exact.time.mean(1),
        "error, training": error.error,
        "exact², training": error.reference,
        "error, test": unseen.error,
        "exact², test": unseen.reference,
    }
    return {name: np.asarray(column).tolist() for name, column in columns.items()}


def at_the_start(field: Field, x0: Features, key: jax.Array) -> Row:
    """Test Propositions 1 and 2 on all training images and an equal number of Gaussian draws."""
    v = jax.lax.map(partial(*field, jnp.zeros(())), x0)
    flat, speed = (np.asarray(part, np.float64).reshape(len(x0), -1) for part in (x0, v))
    norms, speeds = np.linalg.norm(flat, axis=1), np.linalg.norm(speed, axis=1)
    angles = geometry.ot_angle(*field, x0, jax.random.normal(key, x0.shape))
    # LN gives all samples the same norm, up to rounding.
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


def saved(x0: Features, size: int, key: jax.Array) -> float:
    """Return the saving in % of the cheapest assignment in a minibatch over a random one."""
    x1 = jax.random.normal(key, x0.shape)
    parts = [slice(i, i + size) for i in range(0, len(x0) - size + 1, size)] or [slice(None)]
    ordered = [couplings.optimal(x0[part], x1[part]) for part in parts]
    costs = [
        sum(float(jnp.sum(jnp.square(x0[part] - z))) for part, z in zip(parts, of, strict=True))
        for of in (ordered, [x1[part] for part in parts])
    ]
    return 100 * (1 - costs[0] / costs[1])


def likelihood(field: Field, x0: Features, bad: np.ndarray, key: jax.Array, steps: int) -> Row:
    """Return image AUROC in % by log-likelihood, density proxy and ‖x̂1‖ of whole maps."""
    log_likelihood = partial(ode.log_likelihood, *field, steps=steps, solver=ode.EULER)
    keys, singles = map(partial(jax.random.fold_in, key), range(len(x0))), x0[:, None]
    ends = np.concatenate([ode.push_forward(*field, x, steps=steps) for x in singles])
    log_p = np.concatenate([log_likelihood(x, k) for x, k in zip(singles, keys, strict=True)])
    proxy = np.asarray(scores.density_proxy(jnp.asarray(ends))).reshape(len(x0), -1).mean(1)
    norms = np.linalg.norm(ends.reshape(len(x0), -1), axis=1)
    found = {
        "negative log-likelihood": -log_p,
        "log-volume change alone": -(log_p + norms**2 / 2),
        "‖x̂1‖": norms,
        "mean density proxy": proxy,
    }
    return {name: percent(metrics.auroc(values, bad)) for name, values in found.items()}


def run(job: Job) -> Row:
    """Obtain the model and measure its field; return the category's entry."""
    config, flow = job.config, job.config.flow
    if not config.velocity.trained:
        raise WTFlowError(
            f"--velocity {flow.velocity}: geometry.py needs a trained network; give unet"
        )
    if flow.target != "gaussian":
        raise WTFlowError(f"--target {flow.target}: the exact field is for gaussian; give gaussian")
    ready = job.ready(both_kinds=True)
    model = job.obtain(ready)
    maps = job.training(ready), ready.splits.test
    x0, test = (model.detector.x0(jnp.asarray(part)) for part in maps)
    field = config.velocity.velocity_fn(), model.detector.params
    keys = jax.random.split(jax.random.key(config.training.seed), 3)
    steps, bad = 2 if job.setup.run.smoke else STEPS, ready.labels
    advance = job.track(f"{job.name}: geometry", 3)
    entry: Row = {"loss": model.history[-1]["loss"], "start": at_the_start(field, x0, keys[0])}
    name, size = "the cheapest assignment of a minibatch saves, %", config.training.batch_size
    entry["start"][name] = saved(x0, size, keys[0])
    advance(1, "times")
    entry["times"] = by_time(field, x0, test[~bad], keys[1])
    advance(1, "likelihood")
    entry["likelihood"] = likelihood(field, test, bad, keys[2], steps)
    advance(1, "done")
    return entry


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return per category a table of single figures and a table by time."""
    found = []
    for row in rows:
        figures = {**row["start"], **row["likelihood"]}
        body = [[name, NONE if v is None else f"{v:.4g}"] for name, v in figures.items()]
        title = f"{row['category']}, WT map {setup.config().flow.wt}"
        found.append(Table(title, ["quantity", "value"], body))
        times = [[name, *(f"{v:.3g}" for v in values)] for name, values in row["times"].items()]
        title = f"{row['category']}: ‖∂v/∂x‖, ‖∂v/∂t‖ and mean squares an element, by t"
        found.append(Table(title, times[0], times[1:]))
    return found


EXPERIMENT = Experiment("geometry", __doc__, show, measure=run)
EXPERIMENT.command(__name__)
