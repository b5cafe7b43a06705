"""What a trained network learns: how much of its velocity each exact field explains.

Claim, this library's own: without a map, a network equals the exact field of Gaussians to a few
percent from t = 0.3 on, within the dimensions that its width allows. Detection comes from earlier
times.

    python experiments/learned.py                                      # a built-in category
    python experiments/learned.py --root mvtec_ad --categories screw

Runs every WT map (``--wt`` is ignored). The fields u are fitted to the training maps, from the
least to the most detail: one variance, one Gaussian per position, 16 Gaussians over all positions,
12,000 patches, and the maps themselves, which a network would have to memorise. P projects u onto
the span of the network's velocities v. The first table has ‖v − Pu‖²/‖v‖² at x_t, for cells of
training, good and defective images, and for the 3 % of defective images' cells that lie farthest
out. Then follow losses, and the AUROC of v, u, v − u and parts of them. Cost: four times mvtec.py,
plus some minutes per map. Findings: docs/geometry.md.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wtflow_jax.flow import ode
from wtflow_jax.flow.maps import MAPS
from wtflow_jax.flow.types import Features, Params, PRNGKey, Sample, Samples, Time, VelocityFn
from wtflow_jax.geometry import empirical_velocity, span
from wtflow_jax.geometry.span import Span
from wtflow_jax.lab import Experiment, Job, Row, Rows, Setup, grid
from wtflow_jax.lab.category import Ready
from wtflow_jax.lab.measuring import aurocs
from wtflow_jax.lab.scored import evenly
from wtflow_jax.support.console import Table, number
from wtflow_jax.velocities.exact import Exact
from wtflow_jax.velocities.gaussian import GaussianField
from wtflow_jax.velocities.mixture import MixtureField

TIMES = (0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9)
BATCH = 32
SAMPLES = 8
"""Most images of a kind."""
FARTHEST = 0.03
"""Share of the cells of defective images that count as farthest, by Mahalanobis distance."""
STEPS = 20
"""Euler steps from t = 0 to 1."""
EVEN = tuple((i + 0.5) / STEPS for i in range(STEPS))
"""Times of the loss."""
START = 0.3
"""T of one residual step."""
Field = tuple[VelocityFn, Params]
Fields = dict[str, Field]


def isotropic(variance: Params, t: Time, x: Sample) -> Sample:
    """Return the exact velocity of N(0, variance·I)."""
    return (t - (1 - t) * variance) / ((1 - t) ** 2 * variance + t**2) * x


def exact_fields(x0: Features, key: PRNGKey) -> Fields:
    """Return exact fields of the training maps, from the least to the most detail."""
    parts = {"Gaussians": GaussianField(), "mixture": MixtureField(), "patches": Exact()}
    fitted = {name: (part.velocity_fn(), part.init(key, x0)) for name, part in parts.items()}
    least = {"one variance": (isotropic, jnp.mean(jnp.square(x0)))}
    return least | fitted | {"maps": (empirical_velocity, x0)}


def along(field: Field, x0: Samples, times: tuple[float, ...], key: PRNGKey) -> np.ndarray:
    """Return the velocity at x_t of each sample (times, n, *event)."""
    velocity_fn, params = field
    return np.asarray(span.along(velocity_fn, params, x0, jnp.asarray(times), key))


def at(field: Field, t: float, x: Samples) -> Samples:
    """Return the velocity of samples at one time."""
    velocity_fn, params = field
    return jax.vmap(partial(velocity_fn, params, jnp.float32(t)))(x)


def unexplained(network: Field, others: Fields, x0: dict[str, Features], own: Span) -> Row:
    """Return ‖v − Pu‖²/‖v‖² in % by kind of cells, field and time; P projects onto ``own``."""
    key, found = jax.random.key(0), Row()
    far = np.square(solved(others["Gaussians"], x0["defective"])).mean(-1)
    farthest = far >= np.quantile(far, 1 - FARTHEST)
    for kind, maps in x0.items():
        v = along(network, maps, TIMES, key)
        errors = {}
        for name, field in others.items():
            u = span.within(own, along(field, maps, TIMES, key))
            errors[name] = np.square(v - u).sum(-1)
        cells = {kind: np.ones(maps.shape[:3], bool)}
        cells |= {"farthest": farthest} if kind == "defective" else {}
        for group, some in cells.items():
            whole = np.square(v[:, some]).sum((1, 2))
            found[group] = {
                name: (100 * error[:, some].sum(1) / whole).tolist()
                for name, error in errors.items()
            }
    return found


def losses(network: Field, gaussian: Field, x0: Features, own: Span) -> Row:
    """Return the mean loss per element of training maps, over equally spaced times."""
    key = jax.random.key(1)
    u = along(gaussian, x0, EVEN, key)
    asked = {"network": along(network, x0, EVEN, key), "Gaussians": u}
    asked["Gaussians, in the network's span"] = np.asarray(span.within(own, u))
    # v = x at t = 1, where x is x1.
    towards = along((lambda params, t, x: x, None), x0, (1.0,), key)[0] - x0
    return {name: float(np.square(towards - v).mean()) for name, v in asked.items()}


def solved(field: Field, x0: Samples) -> Samples:
    """Return the endpoints of x0 at t = 1."""
    velocity_fn, params = field
    return ode.push_forward(velocity_fn, params, x0, steps=STEPS)


def detection(
    job: Job, ready: Ready, network: Field, gaussian: Field, x0: Features, own: Span
) -> Row:
    """Return image and pixel AUROC in % of endpoints and their parts, by kind of solve."""

    def step(field: Field, t: float, x: Features) -> Features:
        return x + at(field, t, (1 - t) * x)

    ways = {
        "one step from t = 0": lambda field, x: step(field, 0, x),
        f"{STEPS} steps from t = 0": solved,
        f"a residual step from t = {START}": lambda field, x: START * step(field, START, x),
    }
    found = Row()
    for way, end in ways.items():
        v, u = (
            np.concatenate([end(field, x) for x in batches(x0)]) for field in (network, gaussian)
        )
        # At t = 0 every exact field is −x: one step by u ends at 0, and v − u is v.
        asked: dict[str, Any] = {"v": v} | ({} if way[:3] == "one" else {"u": u, "v − u": v - u})
        if "residual" not in way and len(own.axes) < len(own.middle):
            inside = span.within(own, v) - own.middle
            asked |= {"v outside its span": v - own.middle - inside, "v within it": inside}
            if way[:3] != "one":
                velocity_fn, params = gaussian
                field = span.confined(velocity_fn), (own, params)
                asked["u confined to v's span"] = np.concatenate(
                    [end(field, x) for x in batches(x0)]
                )
        found[way] = {name: aurocs(job, ready, ends, "log_density") for name, ends in asked.items()}
    plain = {"‖x0 − its mean over all cells‖": x0 - jnp.mean(x0, axis=(0, 1, 2)), "‖x0‖": x0}
    found["x0"] = {name: aurocs(job, ready, of, "log_density") for name, of in plain.items()}
    return found


def batches(x: Features) -> list[Features]:
    """Return samples in batches: one Cholesky factor of a Gaussian field serves a whole batch."""
    return [x[i : i + BATCH] for i in range(0, len(x), BATCH)]


def run(job: Job) -> Row:
    """Obtain the model and compare its velocity with exact fields; return the row's entry."""
    job.check_start()
    ready = job.ready(both_kinds=True)
    model = job.obtain(ready)
    train, test = (
        model.detector.x0(jnp.asarray(part)) for part in (job.training(ready), ready.splits.test)
    )
    network = job.config.velocity.velocity_fn(), model.detector.params
    kinds = {"training": train, "good": test[~ready.labels], "defective": test[ready.labels]}
    few = {kind: maps[evenly(len(maps), SAMPLES)] for kind, maps in kinds.items()}
    advance = job.track(f"{job.name}: exact fields", 3)
    others = exact_fields(train, jax.random.key(job.config.training.seed))
    advance(1, "times")
    entry: Row = {"loss": model.history[-1]["loss"], "variance": float(jnp.mean(jnp.square(train)))}
    start = at(network, 0, few["good"])
    entry["start"] = float(100 * jnp.sum((start + few["good"]) ** 2) / jnp.sum(start**2))
    own = span.principal(along(network, few["training"], TIMES, jax.random.key(2)))
    entry["dimensions"] = [len(own.axes), len(own.middle)]
    entry["losses"] = losses(network, others["Gaussians"], few["training"], own)
    entry["unexplained"] = unexplained(network, others, few, own)
    advance(1, "detection")
    entry["auroc"] = detection(job, ready, network, others["Gaussians"], test, own)
    advance(1, "done")
    return entry


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return the unexplained shares, losses and AUROC of each row."""
    found = []
    for row in rows:
        name = f"{row['category']}, {row['variant']}"
        body = [
            [kind, field, *(number(value, digits=1) for value in values)]
            for kind, fields in row["unexplained"].items()
            for field, values in fields.items()
        ]
        title = f"{name}: ‖v − Pu‖²/‖v‖² in %, by t; of v and −x0 at t = 0: {row['start']:.2g} %"
        found.append(Table(title, ["cells", "exact field of", *map(str, TIMES)], body))
        title = f"{name}: the network's span has {{}} of {{}} dimensions".format(*row["dimensions"])
        body = [[field, number(loss, digits=3)] for field, loss in row["losses"].items()]
        body.append(["mean square of x0", f"{row['variance']:.3g}"])
        found.append(Table(title, ["loss an element of", "value"], body))
        body = [
            [way, scored, *map(number, values)]
            for way, kinds in row["auroc"].items()
            for scored, values in kinds.items()
        ]
        title = f"{name}: AUROC in % by squares"
        found.append(Table(title, ["asked by", "of", "image", "pixel"], body))
    return found


EXPERIMENT = Experiment("learned", __doc__, show, lambda setup: grid(wt=MAPS), run)
EXPERIMENT.command(__name__)
