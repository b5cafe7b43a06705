"""``wtflow export``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from wtflow_jax.support.errors import shown


@dataclass(frozen=True)
class Export:
    """Write a model as one file for other programs; docs/export.md has what reads it."""

    model: Annotated[Path, tyro.conf.Positional]
    """Directory that fit has written."""
    out: Path
    """A name that ends in .stablehlo, for JAX, or in .onnx."""

    def execute(self) -> int:
        """Write a model as one file for other programs."""
        from wtflow_jax.app import export
        from wtflow_jax.detector import model

        export.check_free(self.out)
        export.export(model.load(self.model), self.out)
        print(f"written to {shown(self.out)}")
        return 0
