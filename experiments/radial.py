"""The radius of samples along the flow (Observations 1 and 2; Fig. 4F; suppl. Tables XII to XIV).

Claim: under plain rFM the norm of a sample first falls, then rises, and ends far inside the
Gaussian annulus at √D. With a WT map samples start at √D, and good samples first move inwards.

    python experiments/radial.py                                      # a built-in category
    python experiments/radial.py --root mvtec_ad --categories bottle

Trains one model each for none, batch_norm and layer_norm (``--wt`` is ignored). Writes per
category, beside results.json, radial.png (Fig. 4F), activations.png (Fig. 6: cell scores of good
and defective images) and histograms.png (Fig. 9: the features before and after the map). Cost:
three models, each like mvtec.py. Findings: docs/geometry.md.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

from wtflow_jax.geometry import radial_profile
from wtflow_jax.lab import Experiment, Job, Row, Rows, Setup, paper
from wtflow_jax.support.console import Table

IN_PAPER = {"none": "S-XII", "batch_norm": "S-XIII", "layer_norm": "S-XIV"}
"""The paper's table of radii for each map."""
STEPS = 50
EVERY = 5
SHOWN = 4
Radii = Float[np.ndarray, "n k"]
Labels = Bool[np.ndarray, " n"]


def observations(radii: Radii, root_d: float) -> Row:
    """Test Observations 1 and 2 on the mean of ‖x_t‖; return the share of samples they hold for."""
    found: Row = {}
    # Row 0 is the mean path.
    paths = np.concatenate([radii.mean(axis=0, keepdims=True), radii])
    inside = paths[:, -1] < root_d
    # Falls below its start, then rises from an inner minimum.
    dips = paths.min(axis=1) < np.minimum(paths[:, 0], paths[:, -1])
    for number, held in ((1, inside), (2, dips)):
        found[f"observation_{number}"] = bool(held[0])
        found[f"observation_{number}_share"] = float(held[1:].mean())
    return found


def run(job: Job) -> Row:
    """Train with each map, measure the radii and write the pictures; return the entry."""
    job.check_start()
    ready = job.ready(both_kinds=True)
    labels, test = ready.labels, ready.splits.test
    root_d = float(np.sqrt(test[0].size))
    entry: Row = {"sqrt_d": root_d}
    radii, cells, starts = {}, {}, {}
    for wt in IN_PAPER:
        model = job.obtain(ready, wt=wt)
        x0 = model.detector.x0(jnp.asarray(test))
        field = model.detector.config.velocity.velocity_fn(), model.detector.params
        steps = 2 * EVERY if job.setup.run.smoke else STEPS
        radii[wt] = np.asarray(radial_profile(*field, x0, steps=steps))
        cells[wt] = list(model.cells.values())[-1]["test"].localization
        starts[wt] = np.asarray(x0[~labels][:SHOWN]).ravel()
        entry[wt] = {
            "loss": model.history[-1]["loss"],
            "good": radii[wt][~labels].mean(0).tolist(),
            "defective": radii[wt][labels].mean(0).tolist(),
            **observations(radii[wt][~labels], root_d),
        }
    job.out.mkdir(parents=True, exist_ok=True)
    draw_radii(radii, labels, root_d).savefig(job.out / "radial.png", dpi=100)
    draw_activations(cells, labels).savefig(job.out / "activations.png", dpi=100)
    draw_histograms(starts).savefig(job.out / "histograms.png", dpi=100)
    return entry


def draw_radii(radii: Mapping[str, Radii], labels: Labels, root_d: float) -> Figure:
    """Draw ‖x_t‖ over t: mean, and the band from the 5th to the 95th percentile (Fig. 4F)."""
    figure = Figure(figsize=(4 * len(radii), 3.2), layout="constrained")
    for axis, (wt, paths) in zip(figure.subplots(1, len(radii)), radii.items(), strict=True):
        t = np.linspace(0, 1, paths.shape[1])
        parts = {"good": (~labels, "tab:blue"), "defective": (labels, "tab:red")}
        for name, (of, color) in parts.items():
            low, high = np.percentile(paths[of], (5, 95), axis=0)
            axis.fill_between(t, low, high, color=color, alpha=0.2, lw=0)
            axis.plot(t, paths[of].mean(0), color=color, label=name)
        axis.axhline(root_d, color="black", lw=0.8, ls="--", label="√D")
        axis.set(title=wt, xlabel="t", ylim=(0, None))
    figure.axes[0].set_ylabel("‖x_t‖")
    figure.axes[0].legend(fontsize=8)
    return figure


def draw_activations(cells: Mapping[str, np.ndarray], labels: Labels) -> Figure:
    """Draw cell scores of the first good and defective images, one scale per map (Fig. 6)."""
    shown = [*np.flatnonzero(~labels)[:SHOWN], *np.flatnonzero(labels)[:SHOWN]]
    figure = Figure(figsize=(1.4 * len(shown) + 1, 1.5 * len(cells)), layout="constrained")
    axes = figure.subplots(len(cells), len(shown), squeeze=False)
    for row, (wt, values) in zip(axes, cells.items(), strict=True):
        for axis, i in zip(row, shown, strict=True):
            axis.imshow(values[i], cmap="inferno", vmin=values.min(), vmax=values.max())
            axis.set(xticks=[], yticks=[])
        figure.colorbar(row[0].images[0], ax=row, shrink=0.9)
        row[0].set_ylabel(wt, fontsize=8)
    for axis, i in zip(axes[0], shown, strict=True):
        axis.set_title("defective" if labels[i] else "good", fontsize=8)
    return figure


def draw_histograms(starts: Mapping[str, np.ndarray]) -> Figure:
    """Draw histograms of the elements of x0 of some good images, with N(0, 1) (Fig. 9)."""
    figure = Figure(figsize=(4 * len(starts), 3), layout="constrained")
    for axis, (wt, values) in zip(figure.subplots(1, len(starts)), starts.items(), strict=True):
        bins = np.linspace(values.min(), np.percentile(values, 99.9), 80)
        axis.hist(values, bins=bins, density=True, color="tab:blue", alpha=0.7)
        axis.plot(bins, np.exp(-(bins**2) / 2) / np.sqrt(2 * np.pi), color="black", lw=1)
        title = f"{wt}: mean {values.mean():.2f}, std {values.std():.2f}"
        axis.set(title=title, yscale="log", xlabel="element of x0", ylim=(1e-4, None))
    return figure


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return ‖x_t‖ at every fifth step with the paper's row below, and both observations."""

    def held(entry: Row, which: str) -> str:
        word = "held" if entry[f"observation_{which}"] else "not"
        return f"{word} ({100 * entry[f'observation_{which}_share']:.0f} %)"

    count, body = len(rows[0]["none"]["good"]), []
    for row in rows:
        for wt, number in IN_PAPER.items():
            cells = [f"{value:.1f}" for value in row[wt]["good"][::EVERY]]
            cells += [f"{row['sqrt_d']:.0f}", held(row[wt], "1"), held(row[wt], "2")]
            body.append([f"{row['category']}, {wt}", *cells])
            theirs = paper.table(number).get(row["category"])
            if theirs and count == STEPS + 1:
                cells = [f"{figure.value:.1f}" for figure in theirs.values()]
                body.append(["paper", *cells, "", "", ""])
    title = f"Mean ‖x_t‖ of good test images: {setup.config().features.backbone}"
    columns = ["category, map", *map(str, range(0, count, EVERY)), "√D", "Obs. 1", "Obs. 2"]
    note = "Obs. 1: ends inside √D; Obs. 2: falls, then rises; of the mean, and of how many images."
    return [Table(title, columns, body, [note])]


EXPERIMENT = Experiment("radial", __doc__, show, measure=run)
EXPERIMENT.command(__name__)
