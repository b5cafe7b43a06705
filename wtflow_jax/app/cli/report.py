"""``wtflow report``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from wtflow_jax.support.console import bars
from wtflow_jax.support.errors import WTFlowError, shown


@dataclass(frozen=True)
class Report:
    """Write one HTML page of a run: its figures, curves, threshold and pictures."""

    run: Annotated[Path, tyro.conf.Positional]
    """Directory that evaluate, predict or an experiment has written."""
    out: Path | None = None
    """The page; left out: report.html in the run."""
    pictures: int = 200
    """Images shown with pictures, evenly spread over their scores; one a row at least."""

    def execute(self) -> int:
        """Write a run's page."""
        from wtflow_jax.app.report import page

        if self.pictures < 1:
            raise WTFlowError(f"--pictures {self.pictures}: give at least 1")
        out = self.out or self.run / "report.html"
        with bars() as track:
            page.write(self.run, out, self.pictures, track)
        print(f"written to {shown(out)}")
        return 0
