"""Pictures of a run: some images of each kind with their masks and maps."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from wtflow_jax.data import read_image, white_of
from wtflow_jax.data.sample import File
from wtflow_jax.lab.scored import Scored

PER_KIND = 2
GAP = 0.06
"""Space between two images, as a share of their width."""

Picture = Float[np.ndarray, "H W 3"]
"""RGB from 0 to 1."""


def save_maps(path: Path, files: Sequence[File], scored: Scored) -> None:
    """Draw image, mask and anomaly map of the first images of each kind, whatever their score.

    All maps share one colour scale, from the lowest value in the test set to its 99.5 % quantile.
    If no defect has a mask, there is no row of masks. A single defect without a mask is labelled
    "not drawn".

    Args:
        path: PNG file to write.
        files: the test images' files.
        scored: the same images with their scores.
    """
    kinds = np.array(scored.kinds)
    names = sorted(set(scored.kinds), key=lambda kind: (kind != "good", kind))
    shown = [i for kind in names for i in np.flatnonzero(kinds == kind)[:PER_KIND].tolist()]
    size = height, width = scored.maps.shape[1:]
    colours = Normalize(float(scored.maps.min()), float(np.quantile(scored.maps, 0.995)), clip=True)
    inferno = matplotlib.colormaps["inferno"]
    images = [read_image(files[i], size, white_of([files[i]])) / 255 for i in shown]
    rows = {"image": images}
    if scored.masks is not None:
        masks = [scored.masks[i] if scored.known[i] else np.ones(size) for i in shown]
        rows["mask"] = [np.repeat(mask[..., None], 3, axis=2).astype(float) for mask in masks]
    rows["map"] = [inferno(colours(scored.maps[i]))[..., :3] for i in shown]
    step = width + round(GAP * width)
    centres = [step * place + (width - 1) / 2 for place in range(len(shown))]

    inches = 1.6 * len(shown) + 0.9, len(rows) * 1.6 * height / width + 0.7
    figure = Figure(figsize=inches, layout="constrained")
    # One axis per row: the layout of one axis per picture takes seconds.
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axis, (name, pictures) in zip(axes, rows.items(), strict=True):
        axis.imshow(_side_by_side(pictures, step - width))
        axis.set(xticks=[], yticks=[], frame_on=False)
        axis.set_ylabel(name, fontsize=9)
    titles = [f"{scored.kinds[i]}\nscore {scored.scores[i]:.4f}" for i in shown]
    axes[0].set_xticks(centres, titles, fontsize=8)
    axes[0].tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    if scored.masks is not None:
        for i, x in zip(shown, centres, strict=True):
            if not scored.known[i]:
                axes[1].text(x, height / 2, "not drawn", ha="center", va="center", fontsize=8)
    bar = figure.colorbar(
        ScalarMappable(colours, inferno),
        ax=axes,
        location="right",
        shrink=0.9,
        fraction=0.05,
        pad=0.01,
    )
    bar.set_label("score of a pixel", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    figure.savefig(path, dpi=110)


def _side_by_side(pictures: Sequence[Picture], gap: int) -> Float[np.ndarray, "H _ 3"]:
    """Return pictures side by side, with white gaps."""
    between = np.ones((len(pictures[0]), gap, 3))
    parts = [part for picture in pictures for part in (between, picture)]
    return np.concatenate(parts[1:], axis=1)
