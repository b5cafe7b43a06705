"""``wtflow evaluate``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from wtflow_jax.support.errors import WTFlowError, shown
from wtflow_jax.support.progress import bars


@dataclass(frozen=True)
class Evaluate:
    """Measure a model on images of which is known what they are: results.json, and a table."""

    model: Annotated[Path, tyro.conf.Positional]
    """Directory that fit has written."""
    root: Annotated[Path, tyro.conf.Positional]
    """Directory with good/, a directory for each kind of defect, and masks/KIND/ where there are
    masks; or a data set as published."""
    out: Path
    """Directory of the results."""
    data: str = "folder"
    """The root's layout (python -m wtflow_jax.data check --help lists them)."""
    category: str | None = None
    """Which category of a data set; needed where there are several."""
    batch: int = 8
    """Windows a call."""

    def execute(self) -> int:
        """Score labelled images and write what is measured."""
        from wtflow_jax.support.atomic import alone

        with alone(self.out):
            return self._evaluate()

    def _evaluate(self) -> int:
        from rich.console import Console

        from wtflow_jax.app import evaluating
        from wtflow_jax.detector import model
        from wtflow_jax.lab import scored
        from wtflow_jax.support import tables
        from wtflow_jax.support.atomic import check_empty, sweep

        if self.batch < 1:
            raise WTFlowError(f"--batch {self.batch}: give at least 1")
        loaded = model.load(self.model)
        name, samples = evaluating.labelled(self.root, self.category, self.data)
        # Scores without results are of a run that was killed, or whose disk was full.
        check_empty(self.out, self.out / name / scored.FILE)
        sweep(self.out)
        with bars() as progress:
            task = progress.add_task("images", total=len(samples), note="")
            tested = evaluating.score(
                loaded, samples, batch=self.batch, advance=lambda: progress.advance(task)
            )
            row = {"category": name, **evaluating.measure(loaded, tested)}
        for table in evaluating.write(self.out, loaded, self.root, row, tested):
            tables.show(table, Console())
        if left_out := len(samples) - len(tested.paths):
            print(f"left out, as the model was fitted on them: {left_out}")
        print("".join(f"{shown(reason)}\n" for reason in row["undefined"]), end="")
        out = shown(self.out)
        print(f"written to {out}; next: wtflow report {out}")
        return 0
