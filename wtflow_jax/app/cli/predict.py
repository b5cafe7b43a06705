"""``wtflow predict``."""

import os
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Literal

import tyro

from wtflow_jax.support.errors import WTFlowError, shown
from wtflow_jax.support.progress import bars

SOME_FAILED = 3
"""Exit status where some images could not be scored."""


@dataclass(frozen=True)
class Predict:
    """Score images: predictions.csv, predictions.jsonl, and a picture of each."""

    model: Annotated[Path, tyro.conf.Positional]
    """Directory that fit has written."""
    images: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Directories, files, patterns, or - for a list of paths on standard input."""
    out: Path
    """Directory of the results."""
    maps: Literal["overlay", "16bit", "none"] = "overlay"
    """The map over the image; or its values as a 16-bit picture; or none."""
    batch: int = 8
    """Windows a call."""
    resume: bool = False
    """Go on with results that are there."""

    def execute(self) -> int:
        """Score images and write what is found."""
        from wtflow_jax.support.atomic import alone

        with alone(self.out):
            return self._predict()

    def _predict(self) -> int:
        from wtflow_jax.app import predicting, writing
        from wtflow_jax.data.listing import find
        from wtflow_jax.detector import model

        if self.batch < 1:
            raise WTFlowError(f"--batch {self.batch}: give at least 1")
        if not self.images:
            raise WTFlowError("no images: give directories, files, patterns, or -")
        writing.check_free(self.out, self.resume)
        loaded = model.load(self.model)
        given = find(self.images)
        # Before a directory is made: is there anything, and does the model work?
        given = chain(list(islice(given, 1)), given)
        scorer = predicting.compile(loaded, self.batch)
        colours, threshold = loaded.colours, loaded.threshold.value
        results = writing.Results(self.out, self.maps, colours, threshold, self.resume)
        # Pictures that this command has written may be below what it is given.
        own = os.path.abspath(self.out / writing.MAPS)
        new = (path for path in given if not Path(os.path.abspath(path)).is_relative_to(own))
        paths = (path for path in new if not results.has(path))
        with bars() as progress:
            task = progress.add_task("images", total=None, note="")
            for _ in results.write(predicting.predict(loaded, paths, scorer)):
                progress.advance(task)
        rows, defective, failed = results.rows, results.defective, results.failed
        images = "image" if rows == 1 else "images"
        told = f"{rows} {images}, {defective} defective, {failed} not scored"
        if failed:
            told += " (the column error says why; predict them into another --out)"
        print(f"{told}; written to {shown(self.out)}")
        return SOME_FAILED if failed else 0
