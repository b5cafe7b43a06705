"""The categories of a run, and what the paper sets for each."""

import sys
from dataclasses import replace
from pathlib import Path

from wtflow_jax import data as datasets
from wtflow_jax.data import Category, Sample
from wtflow_jax.detector.config import Config, defaults
from wtflow_jax.lab import paper
from wtflow_jax.support.errors import WTFlowError, shown


def opened(config: Config) -> list[Category]:
    """Return the categories of a run, those of the built-in data where there is no root.

    Raises:
        WTFlowError: the data cannot be used, or one is not there.
    """
    root, layout = config.root, config.data
    if root is None:
        root, layout = datasets.generate(config.cache / "builtin"), "mvtec_ad"
    names = dict.fromkeys(config.categories or datasets.categories(root, layout))
    if config.root is None and not set(names) <= set(built_in := datasets.categories(root)):
        raise WTFlowError(
            f"--categories {' '.join(names)}: without --root there is only {' '.join(built_in)}; "
            "give --root"
        )
    return [_open(replace(config, data=layout), root, name) for name in names]


def _thin(samples: tuple[Sample, ...], count: int) -> tuple[Sample, ...]:
    return samples[:: max(1, len(samples) // count)][:count]


def _open(config: Config, root: Path, name: str) -> Category:
    category = datasets.open_category(root, name, config.data)
    if not (category.train and category.test):
        raise WTFlowError(
            f"{root}: {name} has {len(category.train)} images to train on and {len(category.test)} "
            "to test; give one of each at least"
        )
    if not config.smoke:
        _compare(config, category)
        return category
    kinds = dict.fromkeys(sample.kind for sample in category.test)
    each = max(2, 12 // len(kinds))
    test = [_thin(tuple(s for s in category.test if s.kind == kind), each) for kind in kinds]
    return category._replace(
        train=_thin(category.train, 16),
        test=sum(test, ()),
        validation=_thin(category.validation, 6),
    )


def _compare(config: Config, category: Category) -> None:
    """Tell of a category that has other images than were published."""
    layout = config.data.removeprefix("tfds:")
    published = datasets.LAYOUTS[layout].published.get(category.name)
    defective = sum(sample.label for sample in category.test)
    counts = len(category.train), len(category.test) - defective, defective
    if published and counts != published[:3]:
        found, expected = (" + ".join(map(str, numbers)) for numbers in (counts, published[:3]))
        # A prepared set is checked where it was prepared from.
        root = config.root if layout == config.data else "ROOT"
        print(
            f"{shown(category.name)}: {found} images (train + good + defective), published are "
            f"{expected}: see python -m wtflow_jax.data check {layout} {shown(root)}",
            file=sys.stderr,
        )


def with_settings(config: Config, name: str) -> Config:
    """Return a config with what the paper sets otherwise for a category.

    Not for the preset fine, which is not the paper's, nor where a flag asks for another value than
    the default.
    """
    if config.preset == "fine":
        return config
    usual = defaults(config)
    settings = {
        flag: value
        for flag, value in paper.SETTINGS.get((config.data.removeprefix("tfds:"), name), {}).items()
        if getattr(config, flag) == getattr(usual, flag)
    }
    # Its layer names are a ResNet's.
    if config.backbone == "efficientnet_lite0":
        settings.pop("layer", None)
    return replace(config, **settings)
