"""Every WT map with every velocity, over seeds: which of the two is it that finds defects?

Claim, this library's own: on a category that is far from saturated, whiten is the best map for
every velocity: it brings the image AUROC of tire (MVTec 3D-AD, ResNet-18) from 60 to 72 up to 78
to 81.

    python experiments/velocities.py                                      # a built-in category
    python experiments/velocities.py --root mvtec_ad --categories bottle

Runs none, batch_norm, layer_norm and whiten with unet, patch and exact under three seeds, each with
its own defaults; for the exact field a seed is a draw of patches. Not read: ``--wt``,
``--velocity``, ``--seed``, and a flag that is given its default. Cost: 36 runs of mvtec.py a
category, some 40 minutes on two CPU cores; ``--resume`` goes on inside a category. What was found:
docs/geometry.md.
"""

import sys
from itertools import product
from typing import Any, get_args

import numpy as np
from rich.table import Table

import category as category_run
import common
from wtflow_jax.config import Config, VelocityName, WTMapName, variant

SEEDS = (0, 1, 2)


def run(job: category_run.Job) -> dict[str, Any]:
    """Run every combination; the category's entry, seeds in a row under WT map and velocity."""
    config, name = job.config, job.category.name
    entry: dict[str, Any] = {}
    pairs = list(product(get_args(VelocityName), get_args(WTMapName)))
    # All before the first: an hour may lie between.
    for velocity, wt in pairs:
        variant(config, wt=wt, velocity=velocity).check()
    for velocity, wt in pairs:
        found = [
            category_run.run(
                job._replace(
                    config=variant(config, wt=wt, velocity=velocity, seed=seed),
                    category=job.category._replace(name=f"{name}, {wt}, {velocity}, seed {seed}"),
                    out=job.out / f"{wt}-{velocity}-{seed}",
                )
            )
            for seed in (SEEDS[:1] if config.smoke else SEEDS)
        ]
        entry.setdefault(wt, {})[velocity] = {
            name: [result[name] for result in found]
            for name in ("image_auroc", "pixel_auroc", "loss", "x0_norm", "seconds")
        }
    return entry


def show(config: Config, results: common.Results) -> Table:
    """Return mean ± standard deviation over seeds, a row a map and velocity."""
    view = Table(title=f"AUROC in %, {config.backbone}, mean ± std over seeds")
    view.add_column("WT map")
    view.add_column("velocity")
    for name in results["categories"]:
        view.add_column(f"{name}, image", justify="right")
        view.add_column("pixel", justify="right")
    for wt, velocity in product(get_args(WTMapName), get_args(VelocityName)):
        seeds = [
            entry[wt][velocity][metric]
            for entry in results["categories"].values()
            for metric in ("image_auroc", "pixel_auroc")
        ]
        figures = [f"{np.mean(values):.2f} ± {np.std(values):.2f}" for values in seeds]
        view.add_row(wt, velocity, *figures, end_section=velocity == get_args(VelocityName)[-1])
    view.caption = (
        f"each the mean over its last {category_run.LAST} evaluated epochs; nothing is trained for "
        f"exact, where a seed is a draw of patches; written to {config.out / 'results.json'}"
    )
    return view


if __name__ == "__main__":
    description = __doc__ or ""
    sys.exit(
        common.main(sys.argv[1:], name="velocities", description=description, show=show, one=run)
    )
