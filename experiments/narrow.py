"""How wide a network must be, in closed form: exact fields confined to few dimensions.

Claim, this library's own: a network with b channels before its last layer moves x0 in at most b
dimensions. The exact field of Gaussians, confined to its best b dimensions, predicts what Table XV
(suppl.) found by training: under layer_norm, defects of screw are missed with an eighth of the
channels and found with three quarters; under whiten they are found at any width.

    python experiments/narrow.py                                      # a built-in category
    python experiments/narrow.py --root mvtec_ad --categories screw

Runs every WT map (``--wt`` is ignored). The best dimensions are the first principal components of
the field's velocities. Draws narrow.png beside results.json, with the paper's networks of 128 to
768 channels for features of 1,024. Nothing is trained. Cost: some minutes per category. Findings:
docs/geometry.md.
"""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from wtflow_jax.flow import ode
from wtflow_jax.flow.maps import MAPS
from wtflow_jax.geometry import span
from wtflow_jax.lab import Experiment, Job, Row, Rows, Setup, grid, paper, views
from wtflow_jax.lab.measuring import aurocs
from wtflow_jax.lab.scored import evenly
from wtflow_jax.support.console import Table, number
from wtflow_jax.velocities.gaussian import GaussianField

EIGHTHS = (1, 2, 4, 6, 8)
"""Dimensions of the field, in eighths of the channels: the paper's widths are 1, 2, 4 and 6."""
STEPS = 20
"""Euler steps from t = 0 to 1, and times of the loss."""
SAMPLES = 8
"""Number of training images from which the dimensions are chosen."""
BATCH = 32


def run(job: Job) -> Row:
    """Fit the map and the field, and confine the field; return the row's entry."""
    ready = job.ready(both_kinds=True)
    # Only its map is used, which is fitted as for a network.
    detector = job.obtain(ready, velocity="gaussian").detector
    x0, test = (detector.x0(jnp.asarray(part)) for part in (job.training(ready), ready.splits.test))
    part, key = GaussianField(), jax.random.key(job.config.training.seed)
    fn, law = part.velocity_fn(), part.init(key, x0)
    few, c = x0[evenly(len(x0), SAMPLES)], x0.shape[-1]
    times = (jnp.arange(STEPS) + 0.5) / STEPS
    u = np.asarray(span.along(fn, law, few, times, key))
    # v = x at t = 1, where x is x1.
    towards = span.along(lambda params, t, x: x, None, few, jnp.ones(1), key)[0] - few
    advance, entry = job.track(f"{job.name}: widths", len(EIGHTHS)), Row()
    for width in dict.fromkeys(max(1, c * eighths // 8) for eighths in EIGHTHS):
        best = span.principal(u, width)
        batches = [test[i : i + BATCH] for i in range(0, len(test), BATCH)]
        confined = span.confined(fn), (best, law)
        ends = [ode.push_forward(*confined, x, steps=STEPS) for x in batches]
        image, pixel = aurocs(job, ready, np.concatenate(ends), "log_density")
        loss = float(np.square(towards - span.within(best, u)).mean())
        entry[str(width)] = {"image": image, "pixel": pixel, "loss": loss}
        advance()
    return {"widths": entry, "channels": c}


def draw(rows: Rows) -> Figure:
    """Draw image AUROC by dimensions and the paper's networks, one panel per category."""
    parts, theirs = views.by(rows, "category"), paper.table("S-XV")
    figure = Figure(figsize=(4.4 * len(parts) + 1.6, 3.4), layout="constrained")
    panels = figure.subplots(1, len(parts), squeeze=False)[0]
    for panel, (category, own) in zip(panels, parts.items(), strict=True):
        for i, row in enumerate(own):
            wt, colour = row["variant"], f"C{i}"
            shares = [int(width) / row["channels"] for width in row["widths"]]
            found = [figures["image"] for figures in row["widths"].values()]
            panel.plot(shares, found, "-", marker=".", color=colour, label=f"{wt}, closed form")
            cells = {w: theirs.get(category, {}).get(f"{wt} {w}") for w in (128, 256, 512, 768)}
            known = [(w / 1024, cell.value) for w, cell in cells.items() if cell]
            if known:
                label = f"{wt}, the paper's networks"
                panel.plot(*zip(*known, strict=True), ":", marker="x", color=colour, label=label)
        panel.set(xlabel="width as a share of the channels", title=category)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("image AUROC in %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return figure


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Draw narrow.png, and return AUROC and loss per map by dimensions."""
    setup.run.out.mkdir(parents=True, exist_ok=True)
    draw(rows).savefig(setup.run.out / "narrow.png", dpi=100)
    body = [
        [row["category"], row["variant"], width, *map(number, (f["image"], f["pixel"], f["loss"]))]
        for row in rows
        for width, f in row["widths"].items()
    ]
    title = f"The Gaussians' field in its best dimensions, {STEPS} Euler steps: AUROC in %"
    return [Table(title, ["category", "map", "dimensions", "image", "pixel", "loss"], body)]


EXPERIMENT = Experiment("narrow", __doc__, show, lambda setup: grid(wt=MAPS), run)
EXPERIMENT.command(__name__)
