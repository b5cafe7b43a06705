"""The radius of samples on their way (Observations 1 and 2; Fig. 4F; suppl. Tables XII to XIV).

Claim: under plain rFM the norm of a sample first falls, then rises, and ends far inside the
Gaussian annulus at √D; a WT map starts it there, and good samples are drawn inwards first.

    python experiments/radial.py                                      # a built-in category
    python experiments/radial.py --root mvtec_ad --categories bottle

Trains a model for each of none, batch_norm and layer_norm (``--wt`` is not read). Writes for each
category, beside results.json, radial.png (Fig. 4F), activations.png (Fig. 6: cell scores of good
and defective images) and histograms.png (Fig. 9: the features before and after the map). Cost:
three models, each that of mvtec.py. What was found: docs/geometry.md.
"""

import sys
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

from wtflow_jax.geometry import radial_profile
from wtflow_jax.lab import Experiment, Job, Row, Rows, Setup, main, paper
from wtflow_jax.support.console import Table, bars
from wtflow_jax.support.errors import WTFlowError

MAPS = ("none", "batch_norm", "layer_norm")
IN_PAPER = {"none": "S-XII", "batch_norm": "S-XIII", "layer_norm": "S-XIV"}
STEPS = 50
EVERY = 5
SHOWN = 4

Radii = Float[np.ndarray, "n k"]


def observations(radii: Radii, root_d: float) -> dict[str, Any]:
    """Test Observations 1 and 2 on the mean of some samples, and count the samples they hold for.

    Args:
        radii: ‖x_t‖ (n, k).
        root_d: radius of the Gaussian annulus.
    """

    def inside(path: np.ndarray) -> Bool[np.ndarray, "*n"]:
        return path[..., -1] < root_d

    def dips(path: np.ndarray) -> Bool[np.ndarray, "*n"]:
        # Falls below its start, and rises again from an inner minimum.
        lowest = path.min(axis=-1)
        return (lowest < path[..., 0]) & (lowest < path[..., -1])

    mean = radii.mean(axis=0)
    return {
        "observation_1": bool(inside(mean)),
        "observation_1_share": float(inside(radii).mean()),
        "observation_2": bool(dips(mean)),
        "observation_2_share": float(dips(radii).mean()),
    }


def run(job: Job) -> Row:
    """Train with each map, follow the test images and write the pictures; the category's entry."""
    config, out = job.config, job.out
    if not config.velocity.trained:
        raise WTFlowError(
            f"--velocity {config.flow.velocity}: singular at t = 0, where radial.py starts; give "
            "unet"
        )
    if start := config.inference.start:
        raise WTFlowError(f"--start {start}: radial.py starts at t = 0; give --start 0")
    with bars() as track:
        ready = job.ready(track, both_kinds=True)
        labels, test_features = ready.labels, ready.splits.test
        root_d = float(np.sqrt(np.prod(test_features.shape[1:])))
        entry: Row = {"sqrt_d": root_d}
        radii, cells, starts = {}, {}, {}
        for wt in MAPS:
            model = job.obtain(ready, track, wt=wt)
            x0 = model.detector.x0(jnp.asarray(test_features))
            steps = 2 * EVERY if job.setup.run.smoke else STEPS
            velocity_fn = model.detector.config.velocity.velocity_fn()
            profile = radial_profile(velocity_fn, model.detector.params, x0, steps=steps)
            radii[wt] = np.asarray(profile)
            cells[wt] = [*model.cells.values()][-1]["test"].localization
            starts[wt] = np.asarray(x0[~labels][:SHOWN]).ravel()
            entry[wt] = {
                "loss": model.history[-1]["loss"],
                "good": radii[wt][~labels].mean(0).tolist(),
                "defective": radii[wt][labels].mean(0).tolist(),
                **observations(radii[wt][~labels], root_d),
            }
    out.mkdir(parents=True, exist_ok=True)
    draw_radii(radii, labels, root_d).savefig(out / "radial.png", dpi=100)
    draw_activations(cells, labels).savefig(out / "activations.png", dpi=100)
    draw_histograms(starts).savefig(out / "histograms.png", dpi=100)
    return entry


def draw_radii(radii: Mapping[str, Radii], labels: Bool[np.ndarray, " n"], root_d: float) -> Figure:
    """Draw ‖x_t‖ over t: mean, and the band from the 5th to the 95th percentile (Fig. 4F)."""
    figure = Figure(figsize=(4 * len(radii), 3.2), layout="constrained")
    for axis, (wt, paths) in zip(figure.subplots(1, len(radii)), radii.items(), strict=True):
        t = np.linspace(0, 1, paths.shape[1])
        for name, color, part in (
            ("good", "tab:blue", paths[~labels]),
            ("defective", "tab:red", paths[labels]),
        ):
            low, high = np.percentile(part, (5, 95), axis=0)
            axis.fill_between(t, low, high, color=color, alpha=0.2, lw=0)
            axis.plot(t, part.mean(0), color=color, label=name)
        axis.axhline(root_d, color="black", lw=0.8, ls="--", label="√D")
        axis.set(title=wt, xlabel="t", ylim=(0, None))
    figure.axes[0].set_ylabel("‖x_t‖")
    figure.axes[0].legend(fontsize=8)
    return figure


def draw_activations(cells: Mapping[str, np.ndarray], labels: Bool[np.ndarray, " n"]) -> Figure:
    """Draw cell scores of the first good and defective images, one colour scale a map (Fig. 6)."""
    shown = [*np.flatnonzero(~labels)[:SHOWN], *np.flatnonzero(labels)[:SHOWN]]
    figure = Figure(figsize=(1.4 * len(shown) + 1, 1.5 * len(cells)), layout="constrained")
    axes = figure.subplots(len(cells), len(shown), squeeze=False)
    for row, (wt, values) in zip(axes, cells.items(), strict=True):
        pictures = [
            axis.imshow(values[i], cmap="inferno", vmin=values.min(), vmax=values.max())
            for axis, i in zip(row, shown, strict=True)
        ]
        for axis in row:
            axis.set(xticks=[], yticks=[])
        figure.colorbar(pictures[0], ax=row, shrink=0.9)
        row[0].set_ylabel(wt, fontsize=8)
    for axis, i in zip(axes[0], shown, strict=True):
        axis.set_title("defective" if labels[i] else "good", fontsize=8)
    return figure


def draw_histograms(starts: Mapping[str, np.ndarray]) -> Figure:
    """Draw the elements of x0 of some good images, with N(0, 1) beside them (Fig. 9)."""
    figure = Figure(figsize=(4 * len(starts), 3), layout="constrained")
    for axis, (wt, values) in zip(figure.subplots(1, len(starts)), starts.items(), strict=True):
        bins = np.linspace(values.min(), np.percentile(values, 99.9), 80)
        axis.hist(values, bins=bins, density=True, color="tab:blue", alpha=0.7)
        axis.plot(bins, np.exp(-(bins**2) / 2) / np.sqrt(2 * np.pi), color="black", lw=1)
        axis.set(title=f"{wt}: mean {values.mean():.2f}, std {values.std():.2f}", yscale="log")
        axis.set_xlabel("element of x0")
        axis.set_ylim(1e-4, None)
    return figure


def show(setup: Setup, rows: Rows) -> list[Table]:
    """Return ‖x_t‖ at every fifth step, the paper's row below ours, and what was observed."""
    count = len(rows[0][MAPS[0]]["good"])
    columns = ["category, map", *map(str, range(0, count, EVERY)), "√D", "Obs. 1", "Obs. 2"]

    def held(entry: dict[str, Any], which: int) -> str:
        word = "held" if entry[f"observation_{which}"] else "not"
        return f"{word} ({100 * entry[f'observation_{which}_share']:.0f} %)"

    body = []
    for row in rows:
        for wt in MAPS:
            radii = row[wt]
            cells = [f"{value:.1f}" for value in radii["good"][::EVERY]]
            cells += [f"{row['sqrt_d']:.0f}", held(radii, 1), held(radii, 2)]
            body.append([f"{row['category']}, {wt}", *cells])
            theirs = paper.table(IN_PAPER[wt]).get(row["category"])
            if theirs and count == STEPS + 1:
                cells = [f"{figure.value:.1f}" for figure in theirs.values()]
                body.append(["paper", *cells, "", "", ""])
    note = "Obs. 1: ends inside √D; Obs. 2: falls, then rises; of the mean, and of how many images."
    return [
        Table(
            f"Mean ‖x_t‖ of good test images: {setup.config().features.backbone}",
            columns,
            body,
            [note],
        )
    ]


EXPERIMENT = Experiment("radial", __doc__ or "", show, measure=run)


if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
