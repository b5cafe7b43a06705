"""Pictures of a run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from matplotlib.figure import Figure

from wtflow_jax.data import Sample, read_image
from wtflow_jax.detector.inference import Prediction

PER_KIND = 2


def save_maps(
    path: Path,
    samples: Sequence[Sample],
    masks: Bool[np.ndarray, "n H W"] | None,
    prediction: Prediction,
    size: tuple[int, int],
) -> None:
    """Draw image, mask and anomaly map of some images of each kind.

    The images are the first of their kind, whatever their score, and one colour scale serves all:
    from the lowest value in all the maps of the test set to the one that 0.5 % exceed.

    Args:
        path: PNG file to write.
        samples: the n test images.
        masks: their masks; None where none is known, and there is no row for them. Of a defect
            without a mask it is said that it is not drawn.
        prediction: their scores and maps.
        size: (H, W).
    """
    kinds = sorted({sample.kind for sample in samples}, key=lambda kind: (kind != "good", kind))
    shown = [
        i
        for kind in kinds
        for i in [i for i, sample in enumerate(samples) if sample.kind == kind][:PER_KIND]
    ]
    aspect = size[0] / size[1]
    rows = ("image", "map") if masks is None else ("image", "mask", "map")
    height = len(rows) * 1.6 * aspect + 0.7
    figure = Figure(figsize=(1.6 * len(shown) + 0.9, height), layout="constrained")
    axes = figure.subplots(len(rows), len(shown), squeeze=False)
    low, high = float(prediction.maps.min()), float(np.quantile(prediction.maps, 0.995))
    heat = None
    for column, i in enumerate(shown):
        axes[0, column].imshow(read_image(samples[i].path, size))
        title = f"{samples[i].kind}\nscore {prediction.scores[i]:.4f}"
        axes[0, column].set_title(title, fontsize=8)
        if masks is not None:
            mask = masks[i] if samples[i].known else np.ones(size)
            axes[1, column].imshow(mask, cmap="gray", vmin=0, vmax=1)
            if not samples[i].known:
                middle = size[1] / 2, size[0] / 2
                axes[1, column].text(*middle, "not drawn", ha="center", va="center", fontsize=8)
        heat = axes[-1, column].imshow(prediction.maps[i], cmap="inferno", vmin=low, vmax=high)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    for row, name in enumerate(rows):
        axes[row, 0].set_ylabel(name, fontsize=9)
    if heat is not None:
        bar = figure.colorbar(heat, ax=axes[:, -1], location="right", shrink=0.9)
        bar.set_label("score of a pixel", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    figure.savefig(path, dpi=110)
