"""A category, ready for models: its images as features, and what is known of the test images."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool
from rich.progress import Progress

from wtflow_jax import backbones, metrics
from wtflow_jax import data as datasets
from wtflow_jax.backbones import features
from wtflow_jax.data import Category, Sample
from wtflow_jax.data.split import hold_out
from wtflow_jax.detector import detector
from wtflow_jax.detector.config import Config
from wtflow_jax.flow import scores
from wtflow_jax.lab import models
from wtflow_jax.support import memory
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.training import sharding


class Test(NamedTuple):
    """The test images and what is known of them.

    Attributes:
        samples: the images.
        labels: whether each is defective, (n,) bool.
        known: whether the defective pixels of an image are, (n,) bool.
        masks: their defective pixels; None where no defect has a mask.
        regions: of the masks of ``known`` images, as the metrics take them; None likewise.
        saturated: MVTec LOCO's regions with their saturation; None elsewhere.
        upsamplings: from cells to pixels, by the convention of cell centres.
    """

    samples: Sequence[Sample]
    labels: Bool[np.ndarray, " n"]
    known: Bool[np.ndarray, " n"]
    masks: Bool[np.ndarray, "n H W"] | None
    regions: metrics.Regions | None
    saturated: Sequence[metrics.Region] | None
    upsamplings: dict[str, scores.Upsampling]


class Data(NamedTuple):
    """A category, ready for a model: see ``models.Splits`` and ``Test``."""

    splits: models.Splits
    test: Test


def both_kinds(test: Test, name: str) -> None:
    """Refuse test images that are all good or all defective."""
    for label, word in ((False, "good"), (True, "defective")):
        if label not in test.labels:
            raise WTFlowError(f"{name}: no {word} test image; this experiment needs both kinds")


class Loader:
    """Opens categories; the last backbone and the last category are kept for the next row."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._backbone: tuple[Any, backbones.Backbone] | None = None
        self._data: tuple[Any, Data] | None = None

    def backbone(self, config: Config) -> backbones.Backbone:
        """Return a config's backbone."""
        key = config.backbone, config.layer, config.weights, config.cache
        if self._backbone is None or self._backbone[0] != key:
            loaded = backbones.load(
                config.backbone, layer=config.layer, weights=config.weights, cache=config.cache
            )
            self._backbone = key, loaded
        return self._backbone[1]

    def data(self, config: Config, category: Category, progress: Progress) -> Data:
        """Return a category's features and masks.

        Raises:
            WTFlowError: an image, a mask, the weights or the cache cannot be used.
        """
        images = config.image_size, config.dense, config.validation
        key = config.backbone, config.layer, config.weights, *images, category
        if self._data is None or self._data[0] != key:
            self._data = None
            self._data = key, self._load(config, category, progress)
        return self._data[1]

    def _load(self, config: Config, category: Category, progress: Progress) -> Data:
        size = datasets.parse_size(config.image_size)
        train, validation = list(category.train), list(category.validation)
        if not validation and config.validation:
            # One at least, as it was asked for, and one to train on.
            count = min(max(1, round(config.validation * len(train))), len(train) - 1)
            train, validation = hold_out(train, count)
        # Masks first: they are quick, and a bad one is told of before minutes of work.
        masks, saturated = _masks(category, size), _saturated(category, size)
        backbone = self.backbone(config)
        parts = [train, category.test, validation]
        total = sum(map(len, parts))
        task = progress.add_task(f"{category.name}: features", total=total, note="images")

        def extract(samples: Sequence[Sample], by: Callable) -> Any:
            advance = partial(progress.advance, task)
            return by(backbone, samples, size, config.cache, advance, dense=config.dense)

        # Training holds them before and after the WT map, 4 bytes a number.
        needed = 8 * len(train) * math.prod(features.shape(backbone, size, config.dense))
        fits = sharding.as_the_first(needed <= config.resident * memory.limit())
        if not fits:
            detector.refuse_stored(config)
            progress.update(task, note="images, streamed from disk")
        with sharding.turns(f"{category.name}: features"):
            first = extract(train, features.extract if fits else features.extract_shards)
            tested = extract(category.test, features.extract)
            none = np.zeros_like(tested[:0])
            held = extract(validation, features.extract) if validation else none
        grid = features.grid(backbone, config.dense)
        known = np.array([sample.known for sample in category.test], bool)
        test = Test(
            samples=category.test,
            labels=np.array([sample.label for sample in category.test], bool),
            known=known,
            masks=masks,
            regions=None if masks is None else metrics.label_regions(masks[known]),
            saturated=saturated,
            upsamplings={
                name: scores.upsampling(size, tested.shape[1:3], grid.stride, offset)
                for name, offset in (("true", grid.offset), ("half_pixel", None))
            },
        )
        return Data(models.Splits(first, tested, held), test)


def _masks(category: Category, size: tuple[int, int]) -> Bool[np.ndarray, "n H W"] | None:
    defective = [sample for sample in category.test if sample.label]
    if defective and not any(sample.masks for sample in defective):
        return None
    masks = np.stack([datasets.read_mask(sample, size) for sample in category.test])
    if defective and not masks.any():
        first = next(sample.masks[0] for sample in defective if sample.masks)
        raise WTFlowError(f"{first}: neither it nor another mask marks a pixel; check them")
    return masks


def _saturated(category: Category, size: tuple[int, int]) -> list[metrics.Region] | None:
    if not category.saturations:
        return None
    return [
        metrics.Region(i, region.mask, region.saturation)
        for i, sample in enumerate(category.test)
        for region in datasets.regions(sample, size, category.saturations)
    ]
