"""One row of an experiment: a category under one config."""

from pathlib import Path
from typing import NamedTuple

from wtflow_jax.data import Category
from wtflow_jax.detector import route
from wtflow_jax.detector.config import Config
from wtflow_jax.detector.route import Cells, Prediction
from wtflow_jax.flow.types import Stored
from wtflow_jax.lab.category import Loader, Ready
from wtflow_jax.lab.flags import Setup
from wtflow_jax.lab.store import FeatureMaps, Trained, obtain
from wtflow_jax.support.console import Track, untracked
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.training.sharding import Layout


class Job(NamedTuple):
    """A category under one config; its files go to ``out``. Its methods raise WTFlowError."""

    config: Config
    setup: Setup
    category: Category
    loader: Loader
    out: Path
    layout: Layout
    track: Track = untracked

    @property
    def name(self) -> str:
        """The category's name."""
        return self.category.name

    def check_start(self) -> None:
        """Raise WTFlowError if the velocity is singular at t = 0 or ``--start`` is above 0."""
        if self.config.velocity.singular:
            raise WTFlowError(
                f"--velocity {self.config.flow.velocity}: singular at t = 0, where this experiment "
                "starts; give another"
            )
        if start := self.config.inference.start:
            raise WTFlowError(f"--start {start}: this experiment starts at t = 0; give --start 0")

    def ready(self, *, both_kinds: bool = False) -> Ready:
        """Return the category's features and masks.

        With ``both_kinds``, raise WTFlowError if good or defective test images are missing.
        """
        ready = self.loader.ready(self.config, self.category, self.track)
        for label, word in ((False, "good"), (True, "defective")) if both_kinds else ():
            if label not in ready.labels:
                raise WTFlowError(
                    f"{self.name}: no {word} test image; this experiment needs both kinds"
                )
        return ready

    def training(self, ready: Ready, folds: int = 1) -> FeatureMaps:
        """Return the training features as one array; check for at least two images per fold."""
        features = ready.splits.train
        if isinstance(features, Stored):
            raise WTFlowError(
                f"{features.shape[0]} training images: this experiment needs their features in "
                "memory; give a higher --resident or fewer images"
            )
        if folds > 1 and len(features) < 2 * folds:
            raise WTFlowError(
                f"{self.name}: {len(features)} training images; "
                f"give at least {2 * folds} to leave a fifth of them out"
            )
        return features

    def obtain(self, ready: Ready, **changes: str) -> Trained:
        """Return the model of the row's config with some changes; train it unless it is stored."""
        config = self.config.but(**changes) if changes else self.config
        models = self.setup.run.models
        return obtain(config, self.name, ready.splits, models, self.layout, self.track)

    def finish(self, ready: Ready, cells: Cells, centres: str | None = None) -> Prediction:
        """Return maps and image scores from the cell scores of the test images.

        Maps are in the frame of the original images, also if these were straightened; ``centres``
        replaces the config's convention.
        """
        asked = self.config.decision
        found = route.finish(cells, ready.where[centres or asked.centres], asked.top_fraction)
        return found._replace(maps=ready.turned_back(found.maps))
