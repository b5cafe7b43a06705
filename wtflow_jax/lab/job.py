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
    """A category under one config; ``out`` gets its files. Its methods raise WTFlowError."""

    config: Config
    setup: Setup
    category: Category
    loader: Loader
    out: Path
    layout: Layout
    track: Track = untracked

    @property
    def name(self) -> str:
        """The category's."""
        return self.category.name

    def check_start(self) -> None:
        """Refuse what has no velocity at t = 0, or starts later."""
        if self.config.velocity.singular:
            raise WTFlowError(
                f"--velocity {self.config.flow.velocity}: singular at t = 0, where this experiment "
                "starts; give another"
            )
        if start := self.config.inference.start:
            raise WTFlowError(f"--start {start}: this experiment starts at t = 0; give --start 0")

    def ready(self, *, both_kinds: bool = False) -> Ready:
        """Return the category as features and masks; ``both_kinds`` of test images if needed."""
        ready = self.loader.ready(self.config, self.category, self.track)
        for label, word in ((False, "good"), (True, "defective")) if both_kinds else ():
            if label not in ready.labels:
                raise WTFlowError(
                    f"{self.name}: no {word} test image; this experiment needs both kinds"
                )
        return ready

    def training(self, ready: Ready, folds: int = 1) -> FeatureMaps:
        """Return the training features as one array, of two images a fold at least."""
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
        """Return the row's model, or one of a variant of its config; trained unless it is there."""
        config = self.config.but(**changes) if changes else self.config
        models = self.setup.run.models
        return obtain(config, self.name, ready.splits, models, self.layout, self.track)

    def finish(self, ready: Ready, cells: Cells, centres: str | None = None) -> Prediction:
        """Return maps and image scores of the test images' cells.

        Maps are in the frame of the images, however these were turned; ``centres`` stands in place
        of the config's.
        """
        asked = self.config.decision
        found = route.finish(cells, ready.where[centres or asked.centres], asked.top_fraction)
        return found._replace(maps=ready.turned_back(found.maps))
