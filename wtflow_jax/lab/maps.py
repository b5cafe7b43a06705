"""Pictures of a run: images of each kind with their masks and maps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from wtflow_jax.data import read_image, white_of
from wtflow_jax.data.sample import File
from wtflow_jax.lab.scored import Scored

PER_KIND = 2


def save_maps(path: Path, files: Sequence[File], scored: Scored) -> None:
    """Draw image, mask and anomaly map of the first images of each kind, whatever their score.

    One colour scale serves all: from the lowest value in all the maps of the test set to the one
    that 0.5 % exceed. Where no defect has a mask there is no row for them; a single one that has
    none is said not to be drawn.

    Args:
        path: PNG file to write.
        files: the test images, as they are decoded.
        scored: the same.
    """
    kinds = np.array(scored.kinds)
    names = sorted(set(scored.kinds), key=lambda kind: (kind != "good", kind))
    shown = [i for kind in names for i in np.flatnonzero(kinds == kind)[:PER_KIND].tolist()]
    size = height, width = scored.maps.shape[1:]
    rows = ("image", "map") if scored.masks is None else ("image", "mask", "map")
    inches = 1.6 * len(shown) + 0.9, len(rows) * 1.6 * height / width + 0.7
    figure = Figure(figsize=inches, layout="constrained")
    axes = figure.subplots(len(rows), len(shown), squeeze=False)
    low, high = float(scored.maps.min()), float(np.quantile(scored.maps, 0.995))
    for column, i in zip(axes.T, shown, strict=True):
        column[0].imshow(read_image(files[i], size, white_of([files[i]])))
        column[0].set_title(f"{scored.kinds[i]}\nscore {scored.scores[i]:.4f}", fontsize=8)
        if scored.masks is not None:
            mask = scored.masks[i] if scored.known[i] else np.ones(size)
            column[1].imshow(mask, cmap="gray", vmin=0, vmax=1)
            if not scored.known[i]:
                column[1].text(
                    width / 2, height / 2, "not drawn", ha="center", va="center", fontsize=8
                )
        column[-1].imshow(scored.maps[i], cmap="inferno", vmin=low, vmax=high)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for axis, name in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(name, fontsize=9)
    heat = axes[-1, -1].get_images()[0]
    bar = figure.colorbar(heat, ax=axes[:, -1], location="right", shrink=0.9)
    bar.set_label("score of a pixel", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    figure.savefig(path, dpi=110)
