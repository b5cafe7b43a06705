"""A model on labelled images: what ``wtflow evaluate`` does."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wtflow_jax import data
from wtflow_jax.app import fit
from wtflow_jax.data import Sample
from wtflow_jax.data.framing import Framed, Size, framed
from wtflow_jax.data.sample import File
from wtflow_jax.detector.model import Model
from wtflow_jax.lab import measuring, results, scored, store
from wtflow_jax.lab.scored import Scored
from wtflow_jax.metrics import summary
from wtflow_jax.support.console import NONE, Table, Track, number, untracked
from wtflow_jax.support.environment import environment
from wtflow_jax.support.errors import WTFlowError

FOLLOWED = 16
"""Images whose radius ‖x_t‖ is recorded along the flow."""


def labelled(root: Path, category: str | None, layout: str) -> tuple[str, list[Sample]]:
    """Return the name and the test images of a category; None takes the only one.

    In the layout ``folder`` all good images are test images, those for training included.

    Raises:
        WTFlowError: the directory has another layout, or has several categories and none is given.
    """
    first, *others = data.categories(root, layout)
    if category is None and others:
        raise WTFlowError(
            f"{root}: has {len(others) + 1} categories; give --category {first}, for instance"
        )
    found = data.open_category(root, category or first, layout)
    more = found.train if layout == "folder" else ()
    return found.name, [*more, *found.test]


def score(model: Model, samples: Sequence[Sample], track: Track = untracked) -> Scored:
    """Score labelled images, and record the radius of some along the flow.

    Images that the model was fitted on are left out: their scores are biased. All maps are held in
    memory. Maps and masks of other sizes are scaled to the size of the first.

    Raises:
        WTFlowError: an image or a mask cannot be decoded, or the model was fitted on all images.
    """
    advance = track("images", len(samples))
    seen, new = set(model.training["seen"]), []

    def unseen() -> Iterator[tuple[File, Framed | WTFlowError]]:
        found = framed((sample.path for sample in samples), model.framing)
        for sample, (path, image) in zip(samples, found, strict=True):
            advance()
            if not (isinstance(image, Framed) and image.digest() in seen):
                new.append(sample)
                yield path, image

    values, maps, masks = [], [], []
    size: Size | None = None
    for i, one in enumerate(model.score(unseen())):
        if one.map is None:
            raise WTFlowError(f"{one.error}")
        values.append(one.score)
        height, width = one.map.shape
        size = size or (height, width)
        picture, wanted = Image.fromarray(one.map), (size[1], size[0])
        maps.append(np.asarray(picture.resize(wanted, Image.Resampling.BILINEAR)))
        masks.append(data.read_mask(new[i], size))
    if not new:
        raise WTFlowError(
            f"{samples[0].path}: the model was fitted on this and all other images; give new ones"
        )
    labels = np.array([sample.label for sample in new], bool)
    known = np.array([sample.known for sample in new], bool)
    some = scored.evenly(len(new), FOLLOWED)
    dense = model.config.features.dense
    windows = fit.take([new[i].path for i in some], model.backbone, model.framing, dense)
    # The first window of each image.
    _, first = np.unique(windows.owner, return_index=True)
    named = [str(sample.path) for sample in new], [sample.kind for sample in new]
    pixels = np.stack(maps), np.stack(masks) if known[labels].any() else None
    radii = store.radii(model.detector, windows.maps[first], some)
    return Scored(*named, labels, known, np.array(values, np.float32), *pixels, radii)


def tables(row: dict[str, Any], found: Scored) -> list[Table]:
    """Return the metrics and the decisions as tables."""
    good, decision = int((~found.labels).sum()), row["decision"]
    kinds = [name for name in row if name.startswith("image_auroc ")]
    titles = summary.titles() | {k: k.replace("image_auroc", "image AUROC,") for k in kinds}
    body = [[title, number(row[name])] for name, title in titles.items()]
    above = found.scores > decision["threshold"]
    promised = f"{decision['promised']:.1f} %, by {decision['images']} good {decision['counted']}"

    def share(of: np.ndarray) -> str:
        return f"{above[of].sum()} of {of.sum()}" if of.any() else NONE

    decisions = [
        ["threshold", f"{decision['threshold']:.5g}"],
        ["good called defective", share(~found.labels)],
        ["expected by held-out images", promised],
        ["defective found", share(found.labels)],
    ]
    whose = (
        "the model's threshold"
        if decision["own"] == decision["threshold"]
        else "the threshold given"
    )
    title = f"{row['category']}: {good} good, {len(found.labels) - good} defective images"
    return [
        Table(title, ["metric", "%"], body),
        Table("Decisions", [f"at {whose}", ""], decisions),
    ]


def write(
    out: Path, model: Model, own: float, root: Path, name: str, found: Scored
) -> tuple[dict[str, Any], list[Table]]:
    """Compute the metrics of a category's scored images, and write them as an experiment does.

    The row has all metrics in %, why some are undefined, and the decisions at the threshold of
    ``model``. ``own`` is the threshold that ``fit`` set; ``model`` may have another.

    Returns:
        The row of ``results.json``, and its tables; ``NAME/scores.npz`` has the scores.
    """
    row, held_out = {"category": name, **measuring.metrics_of(found)}, model.training["held_out"]
    decision = summary.decided(model.threshold, len(held_out), found.scores, found.labels)
    row |= {"decision": decision | {"counted": model.counted, "own": own}, "colours": model.colours}
    row |= {"scores": f"{name}/{scored.FILE}", "environment": environment()}
    scored.save(out / row["scores"], found)
    shown = tables(row, found)
    config = model.config.flags() | {"root": root}
    results.write(out, {"experiment": "evaluate", "config": config, "rows": [row]}, shown)
    return row, shown
