"""A model on labelled images: what ``wtflow evaluate`` does."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from wtflow_jax import data as datasets
from wtflow_jax.app import fitting, predicting
from wtflow_jax.app.report.page import RESULTS
from wtflow_jax.data import Sample
from wtflow_jax.data.framing import Framed, Size, framed
from wtflow_jax.data.sample import File
from wtflow_jax.detector import inference
from wtflow_jax.detector.model import Model, kept
from wtflow_jax.lab import scored
from wtflow_jax.lab.scored import Scored
from wtflow_jax.metrics import summary
from wtflow_jax.support import environment
from wtflow_jax.support.atomic import replacing
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.tables import NONE, Table, number

FOLLOWED = 16
"""Images whose radius is followed."""


def labelled(root: Path, category: str | None, layout: str) -> tuple[str, list[Sample]]:
    """Return the name and the test images of a data set's category.

    In the layout ``folder`` all good images are taken: none is held out from another use.

    Args:
        root: as the layout asks.
        category: which; None where there is one alone.
        layout: a key of ``datasets.LAYOUTS``.

    Raises:
        WTFlowError: the directory is not laid out so, or has several categories.
    """
    first, *others = datasets.categories(root, layout)
    if category is None and others:
        raise WTFlowError(
            f"{root}: has {len(others) + 1} categories; give --category {first}, for instance"
        )
    found = datasets.open_category(root, category or first, layout)
    more = found.train if layout == "folder" else ()
    return found.name, [*more, *found.test]


def score(
    model: Model,
    samples: Sequence[Sample],
    *,
    batch: int = predicting.BATCH,
    advance: Callable[[], object] = lambda: None,
) -> Scored:
    """Score labelled images, and follow the radius of some.

    Those that the model was fitted on are left out: their scores tell nothing. All maps are held in
    memory. Where images have several sizes, maps and masks are scaled to the size of the first.

    Args:
        model: a fitted or loaded one.
        samples: images, some of them defective.
        batch: windows a call.
        advance: called after each image.

    Raises:
        WTFlowError: an image or a mask cannot be decoded, or all were fitted on.
    """
    scorer = predicting.compile(model, batch)
    seen, new = set(model.training["seen"]), []

    def unseen() -> Iterator[tuple[File, Framed | WTFlowError]]:
        found = framed((sample.path for sample in samples), model.framing)
        for sample, (path, image) in zip(samples, found, strict=True):
            advance()
            if isinstance(image, Framed) and image.digest() in seen:
                continue
            new.append(sample)
            yield path, image

    scores, maps, masks = [], [], []
    size: Size | None = None
    for i, one in enumerate(predicting.score(model, unseen(), scorer)):
        if one.map is None:
            raise WTFlowError(f"{one.error}")
        scores.append(one.score)
        height, width = one.map.shape
        size = size or (height, width)
        maps.append(_resized(one.map, size))
        masks.append(datasets.read_mask(new[i], size))
    if not new:
        raise WTFlowError(
            f"{samples[0].path}: the model was fitted on this and all other images; give new ones"
        )
    labels = np.array([sample.label for sample in new], bool)
    known = np.array([sample.known for sample in new], bool)
    some = scored.evenly(len(new), FOLLOWED)
    followed = [new[i].path for i in some]
    windows = fitting.take(followed, model.backbone, model.framing, model.config.dense)
    # Of several windows the first.
    _, first = np.unique(windows.owner, return_index=True)
    return Scored(
        [str(sample.path) for sample in new],
        [sample.kind for sample in new],
        labels,
        known,
        np.array(scores, np.float32),
        np.stack(maps),
        np.stack(masks) if known[labels].any() else None,
        inference.radii(model.detector, windows.maps[first], some, model.config),
    )


def _resized(values: Float[np.ndarray, "h w"], size: Size) -> np.ndarray:
    if values.shape == size:
        return values
    return np.asarray(Image.fromarray(values).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def measure(model: Model, tested: Scored) -> dict[str, Any]:
    """Return every metric in %, why some are undefined, and what the threshold does."""
    with summary.reasons() as undefined:
        found = summary.of_images(tested.scores, tested.labels, tested.kinds)
        known = tested.known
        masks = None if tested.masks is None else tested.masks[known]
        found |= summary.of_pixels(tested.maps[known], masks)
        scored.warn(tested.paths, tested.labels, tested.known, tested.masks)
    held_out = len(model.training["held_out"])
    decision = summary.decided(model.threshold, held_out, tested.scores, tested.labels)
    return found | {"undefined": undefined, "decision": decision, "colours": model.colours}


def tables(row: dict[str, Any], tested: Scored) -> list[Table]:
    """Return the metrics and the decisions as tables."""
    good, decision = int((~tested.labels).sum()), row["decision"]
    kinds = [name for name in row if name.startswith("image_auroc ")]
    body = [[title, number(row[name])] for name, title in summary.titles().items()]
    body += [[name.replace("image_auroc", "image AUROC,"), number(row[name])] for name in kinds]
    above = tested.scores > decision["threshold"]
    promised = f"{decision['promised']:.1f} %, by {decision['images']} good images"

    def share(of: np.ndarray) -> str:
        return f"{above[of].sum()} of {of.sum()}" if of.any() else NONE

    decisions = [
        ["threshold", f"{decision['threshold']:.5g}"],
        ["good called defective", share(~tested.labels)],
        ["aimed at when it was fitted", promised],
        ["defective found", share(tested.labels)],
    ]
    title = f"{row['category']}: {good} good, {len(tested.labels) - good} defective images"
    return [
        Table(title, ["metric", "%"], body),
        Table("Decisions", ["at the model's threshold", ""], decisions),
    ]


def write(out: Path, model: Model, root: Path, row: dict[str, Any], tested: Scored) -> list[Table]:
    """Write ``results.json`` and ``NAME/scores.npz``, as an experiment does; return the tables."""
    relative = f"{row['category']}/{scored.FILE}"
    (out / row["category"]).mkdir(parents=True, exist_ok=True)
    scored.save(out / relative, tested)
    shown = tables(row, tested)
    results = {
        "experiment": "evaluate",
        "config": kept(model.config) | {"root": root},
        "rows": [row | {"scores": relative, "environment": environment.environment()}],
        "tables": [table._asdict() for table in shown],
    }
    with replacing(out / RESULTS) as part:
        part.write_text(json.dumps(results, indent=1, default=str))
    return shown
