"""Draws the two pictures at the top of README.md.

    python experiments/mvtec.py --root mvtec_ad --categories bottle --out runs/bottle
    wtflow fit mvtec_ad/bottle/train/good --out model
    wtflow predict model mvtec_ad/bottle/test --out found
    python docs/pictures.py runs/bottle found

``idea.png``: the steps of the method, and the radii of bottle's test images under the trained flow,
as in the report. ``overlays.jpg``: overlays by ``wtflow predict``.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image
from tyro.conf import Positional

from wtflow_jax.lab import scored

DOCS = Path(__file__).parent
SHOWN = "good/000", "good/001", "broken_large/000", "broken_small/002", "contamination/000"
SHOWN += ("contamination/008",)
"""Test images of bottle."""
SIDE = 300
BOXES = {
    "image": "",
    "features f": "of a frozen\nImageNet backbone",
    "WT map": "x₀ = W(f − μ)\nhas ‖x₀‖ ≈ √D",
    "flow": "dx/dt = v(x, t)\nfrom t = 0 to 1",
    "score": "",
}
FIRST = "broken_large/000"
"""The image in the first box; its overlay is in the last."""
GOOD, DEFECTIVE = "#1f77b4", "#d62728"


@dataclass(frozen=True)
class Settings:
    """Inputs of the pictures."""

    run: Positional[Path]
    """Output directory of experiments/mvtec.py on bottle."""
    found: Positional[Path]
    """Output directory of wtflow predict on bottle's test images."""


def boxes(axes: Axes, found: Path) -> None:
    """Draw one box per step of the method, with an image and its overlay at the two ends."""
    axes.set(xlim=(0, len(BOXES)), ylim=(0, 1))
    axes.axis("off")
    path, drawn = next(pair for pair in pictures(found).items() if pair[0].endswith(FIRST))
    ends = {0: next(Path(path).parent.glob(f"{Path(path).name}.*")), len(BOXES) - 1: found / drawn}
    for i, file in ends.items():
        inset = axes.inset_axes((i + 0.06, 0.02, 0.78, 0.8), transform=axes.transData)
        with Image.open(file) as picture:
            inset.imshow(picture.convert("RGB"))
        inset.axis("off")
    for i, (title, text) in enumerate(BOXES.items()):
        axes.text(i + 0.45, 0.92, title, ha="center", va="center", weight="bold", size=10)
        if i:
            arrow = (i - 0.12, 0.42), (i + 0.03, 0.42)
            axes.add_patch(FancyArrowPatch(*arrow, arrowstyle="-|>", mutation_scale=12, color="k"))
        if i in ends:
            continue
        place = FancyBboxPatch(
            (i + 0.06, 0.12), 0.78, 0.6, "round,pad=0.02", facecolor="#f2f2f2", edgecolor="#888888"
        )
        axes.add_patch(place)
        axes.text(i + 0.45, 0.42, text, ha="center", va="center", size=8)


def radii(axes: Axes, run: Path) -> None:
    """Draw the radii of a run's test images by t, means and ranges."""
    row = json.loads((run / "results.json").read_bytes())["rows"][-1]
    tested = scored.load(run / row["scores"])
    assert tested.radii is not None
    values, labels = tested.radii.values / tested.radii.root_d, tested.labels[tested.radii.of]
    t = np.linspace(tested.radii.t_start, 1, values.shape[1])
    for name, own, colour in (("good", ~labels, GOOD), ("defective", labels, DEFECTIVE)):
        axes.plot(t, values[own].mean(0), color=colour, label=name)
        axes.fill_between(t, values[own].min(0), values[own].max(0), color=colour, alpha=0.2, lw=0)
    axes.axhline(1, color="black", lw=0.8, ls="--")
    axes.text(0.99, 1.02, "√D", ha="right", size=9)
    axes.set(xlabel="t", ylabel="‖x_t‖ / √D", xlim=(0, 1), ylim=(0, 1.15))
    axes.set_title("bottle: normal samples fall, defects stay outside", size=9)
    axes.legend(frameon=False, loc="lower left", fontsize=8)


def pictures(found: Path) -> dict[str, str]:
    """Return the overlays of predictions, by image path without suffix."""
    rows = [json.loads(line) for line in (found / "predictions.jsonl").read_text().splitlines()]
    return {Path(row["path"]).with_suffix("").as_posix(): row["map"] for row in rows}


def idea(run: Path, found: Path) -> None:
    """Draw ``idea.png``."""
    figure = Figure(figsize=(11.5, 2.4), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3.3, 1.2))
    boxes(left, found)
    radii(right, run)
    figure.savefig(DOCS / "idea.png")


def overlays(found: Path) -> None:
    """Draw ``overlays.jpg``, the overlays of ``SHOWN`` in two rows of three."""
    maps = pictures(found)
    chosen = [next(m for p, m in maps.items() if p.endswith(name)) for name in SHOWN]
    shown = []
    for name in chosen:
        with Image.open(found / name) as picture:
            height = round(SIDE * picture.height / picture.width)
            shown.append(picture.convert("RGB").resize((SIDE, height), Image.Resampling.LANCZOS))
    sheet = Image.new("RGB", (3 * SIDE, 2 * shown[0].height), (255, 255, 255))
    for i, picture in enumerate(shown):
        sheet.paste(picture, (i % 3 * SIDE, i // 3 * picture.height))
    sheet.save(DOCS / "overlays.jpg", quality=85)


if __name__ == "__main__":
    asked = tyro.cli(Settings, description=__doc__)
    idea(asked.run, asked.found)
    overlays(asked.found)
