"""Opens the categories of a run and prepares their features, masks and labels for models."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from wtflow_jax import backbones, data, metrics
from wtflow_jax.backbones import features
from wtflow_jax.data import Category, Sample, hold_out, pose, turning
from wtflow_jax.data.framing import aspect, size_for
from wtflow_jax.data.pose import Pose
from wtflow_jax.data.turning import Evidence
from wtflow_jax.detector import detector, route
from wtflow_jax.detector.config import Config
from wtflow_jax.flow import scores
from wtflow_jax.lab import paper
from wtflow_jax.lab.flags import Data, Setup
from wtflow_jax.lab.store import Splits
from wtflow_jax.support.console import Track
from wtflow_jax.support.environment import memory
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.training import sharding


def opened(setup: Setup) -> list[Category]:
    """Return the categories of a run; without ``--root`` those of the built-in data."""
    asked = setup.data
    root = asked.root or data.generate(setup.run.cache / "builtin")
    layout = asked.data if asked.root else "mvtec_ad"
    names = asked.categories or data.categories(root, layout)
    if asked.root is None and not set(names) <= set(known := data.categories(root, layout)):
        raise WTFlowError(
            f"--categories {' '.join(names)}: without --root there is only "
            f"{' '.join(known)}; give --root"
        )
    categories = []
    for name in dict.fromkeys(names):
        category = data.open_category(root, name, layout)
        if not (category.train and category.test):
            raise WTFlowError(
                f"{root}: {name} has {len(category.train)} images to train on and "
                f"{len(category.test)} to test; give at least one of each"
            )
        categories.append(_few(category) if setup.run.smoke else category)
    return categories


def _few(category: Category) -> Category:
    def thin(samples: Sequence[Sample], count: int) -> tuple[Sample, ...]:
        return tuple(samples[:: max(1, len(samples) // count)][:count])

    kinds = dict.fromkeys(sample.kind for sample in category.test)
    each = max(2, 12 // len(kinds))
    test = (thin([s for s in category.test if s.kind == kind], each) for kind in kinds)
    train, validation = thin(category.train, 16), thin(category.validation, 6)
    return category._replace(train=train, test=sum(test, ()), validation=validation)


def with_settings(config: Config, asked: Data, category: Category) -> Config:
    """Return a config with a category's own settings.

    Under the presets ``auto`` and ``fine`` a side S means S² pixels at the images' aspect ratio, as
    in ``wtflow fit``. Under the other presets these are the paper's exceptions for the category
    (``paper.SETTINGS``); flags of the command line win over them.
    """
    network, size = backbones.BACKBONES.make(config.features.backbone), config.features.size
    if config.preset in ("auto", "fine"):
        if "x" in config.features.image_size.lower():
            return config
        ratio = aspect([sample.path for sample in category.train])
        window = size_for(size[0] * size[1], ratio, network.multiple)
        return config if window == size else config.but(image_size="{}x{}".format(*window))
    settings = paper.SETTINGS.get((asked.data.removeprefix(data.PREPARED), category.name), {})
    # The paper's layer names are a ResNet's.
    if not set(settings.get("layer", ())) <= set(network.several):
        return config
    return config.but(**{**settings, **dict(config.asked)}) if settings else config


class Ready(NamedTuple):
    """A category with its features; ``labels`` to ``masks`` of the test images as in ``Scored``."""

    splits: Splits  #: features
    samples: Sequence[Sample]  #: the test images
    labels: Bool[np.ndarray, " n"]
    known: Bool[np.ndarray, " n"]
    masks: Bool[np.ndarray, "n H W"] | None
    regions: metrics.Regions | None  #: of the masks of ``known`` images; None without masks
    saturated: Sequence[metrics.Region] | None  #: MVTec LOCO's, with saturation; None elsewhere
    where: dict[str, scores.Upsampling]  #: from cells to pixels, by convention of cell centres
    poses: Sequence[Pose] | None = None  #: of the test images; None if images are not straightened
    lie: Evidence | None = None  #: orientation of the training images; None if not estimated

    def turned_back(self, maps: Float[np.ndarray, "n H W"]) -> Float[np.ndarray, "n H W"]:
        """Return maps of the test images, turned back to the frame of images and masks."""
        if self.poses is None:
            return maps
        return np.stack([pose.back(*pair) for pair in zip(maps, self.poses, strict=True)])


class Loader:
    """Opens categories; keeps the last backbone and the last category for the next row."""

    def __init__(self, setup: Setup) -> None:
        """Start with an empty cache."""
        self.setup, self._kept = setup, dict[str, tuple[Any, Any]]()

    def _keep(self, what: str, key: Any, make: Callable[[], Any]) -> Any:
        if self._kept.get(what, (None,))[0] != key:
            # Free the old value first: memory may not hold two.
            if self._kept.pop(what, None):
                # Compiled programs have image counts in their shapes; each takes some MiB.
                jax.clear_caches()
            self._kept[what] = key, make()
        return self._kept[what][1]

    def ready(self, config: Config, category: Category, track: Track) -> Ready:
        """Return a category's features and masks."""
        key = config.features, config.decision.blur, config.backbone_options, category
        return self._keep("ready", key, lambda: self._load(config, category, track))

    def _load(self, config: Config, category: Category, track: Track) -> Ready:
        size, dense = config.features.size, config.features.dense
        train, validation = list(category.train), list(category.validation)
        if not validation and (share := self.setup.data.validation):
            # At least one image is held out, and at least one remains to train on.
            count = min(max(1, round(share * len(train))), len(train) - 1)
            train, validation = hold_out(train, count)
        # Masks first: they are quick, and a bad mask is reported before minutes of work.
        masks = _masks(category, size)
        saturated = [
            region
            for i, sample in enumerate(category.test if category.saturations else ())
            for region in data.regions(sample, size, category.saturations, i)
        ]
        asked, options = config.features, config.backbone_options
        # From all training images, so the result does not depend on how many are held out.
        lie = None
        if asked.pose == "auto":
            lie = turning.of_files([sample.path for sample in category.train], track=track)
        turned = lie.shift if lie and lie.use else None
        own = {"layer": asked.layer, "options": dict(options), "weights": self.setup.data.weights}
        load = partial(backbones.load, asked.backbone, cache=self.setup.run.cache, **own)
        backbone = self._keep("backbone", (asked.backbone, asked.layer, options), load)
        what = f"{category.name}: features"
        advance = track(what, len(train) + len(category.test) + len(validation))
        # Training holds the features before and after the WT map, 4 bytes per number.
        needed = 8 * len(train) * math.prod(features.shape(backbone, size, dense))
        fits = sharding.as_the_first(needed <= self.setup.devices.resident * memory())
        if not fits:
            detector.refuse_stored(config)
            advance(0, "streamed from disk")

        def extract(
            samples: Sequence[Sample], by: Callable[..., Any] = features.extract, **how: Any
        ) -> Any:
            how |= {"dense": dense, "turned": turned}
            return by(backbone, samples, size, self.setup.run.cache, advance, **how)

        with sharding.turns(what):
            by = features.extract if fits else features.extract_shards
            first = extract(train, by, jitter=asked.jitter)
            tested = extract(category.test)
            held = extract(validation) if validation else tested[:0]
        known = np.array([sample.known for sample in category.test], bool)
        paths = [sample.path for sample in category.test]
        return Ready(
            splits=Splits(first, tested, held),
            samples=category.test,
            labels=np.array([sample.label for sample in category.test], bool),
            known=known,
            masks=masks,
            regions=None if masks is None else metrics.label_regions(masks[known]),
            saturated=saturated if category.saturations else None,
            where={
                centres: route.upsampling(backbone, config, size, centres)
                for centres in ("true", "half_pixel")
            },
            poses=None if turned is None else pose.of_each(paths, turned),
            lie=lie,
        )


def _masks(category: Category, size: tuple[int, int]) -> Bool[np.ndarray, "n H W"] | None:
    defective = [sample for sample in category.test if sample.label]
    if defective and not any(sample.masks for sample in defective):
        return None
    masks = np.stack([data.read_mask(sample, size) for sample in category.test])
    if defective and not masks.any():
        first = next(sample.masks[0] for sample in defective if sample.masks)
        raise WTFlowError(f"{first}: neither this nor any other mask marks a pixel; check them")
    return masks
