"""One row of an experiment: a category under one config."""

from pathlib import Path
from typing import NamedTuple

from wtflow_jax.data import Category
from wtflow_jax.detector.config import Config
from wtflow_jax.lab.category import Loader, Ready
from wtflow_jax.lab.flags import Setup
from wtflow_jax.lab.store import Trained, obtain
from wtflow_jax.support.console import Track
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.training.sharding import Layout


class Job(NamedTuple):
    """A category under one config.

    Attributes:
        config: the row's.
        setup: the run's.
        category: its images.
        loader: opens them.
        out: directory of the category's files.
        layout: the devices.
    """

    config: Config
    setup: Setup
    category: Category
    loader: Loader
    out: Path
    layout: Layout

    @property
    def name(self) -> str:
        """The category's."""
        return self.category.name

    def ready(self, track: Track, *, both_kinds: bool = False) -> Ready:
        """Return the category as features and masks.

        Args:
            track: shows progress.
            both_kinds: whether to refuse test images that are all good or all defective.

        Raises:
            WTFlowError: an image, a mask, the weights or the cache cannot be used.
        """
        ready = self.loader.ready(self.config, self.category, track)
        for label, word in ((False, "good"), (True, "defective")) if both_kinds else ():
            if label not in ready.labels:
                raise WTFlowError(
                    f"{self.name}: no {word} test image; this experiment needs both kinds"
                )
        return ready

    def obtain(self, ready: Ready, track: Track, **changes: str) -> Trained:
        """Return the row's model, or one of a variant of its config; trained unless it is there."""
        config = self.config.but(**changes) if changes else self.config
        return obtain(config, self.name, ready.splits, self.setup.run.models, self.layout, track)
