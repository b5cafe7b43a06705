"""wtflow: find defects in your own images, with good ones to learn from.

    wtflow fit photos/good --out model
    wtflow predict model photos/new --out found
    wtflow evaluate model labelled --out measured
    wtflow report measured
    wtflow export model --out model.onnx

Exit status: 0 where all went well, 1 where the input is bad (one line says what), 2 for flags that
do not exist, 3 where some images could not be scored (their rows say why), 130 when interrupted,
143 when terminated.
"""

# A file a command: its flags, and what it does with them. What takes long to import is imported
# when a command runs, so that --help is quick.

import contextlib
import os
from collections.abc import Sequence
from typing import Annotated

import tyro

from wtflow_jax.app.cli.evaluate import Evaluate
from wtflow_jax.app.cli.export import Export
from wtflow_jax.app.cli.fit import Fit
from wtflow_jax.app.cli.info import Info
from wtflow_jax.app.cli.predict import Predict
from wtflow_jax.app.cli.report import Report
from wtflow_jax.detector.config import CACHE
from wtflow_jax.support import command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    # Within it --help is written too, which may be to a pipe that nobody reads.
    return command.status(lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    asked = tyro.cli(
        Annotated[Fit, tyro.conf.subcommand("fit")]
        | Annotated[Predict, tyro.conf.subcommand("predict")]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[Report, tyro.conf.subcommand("report")]
        | Annotated[Export, tyro.conf.subcommand("export")]
        | Annotated[Info, tyro.conf.subcommand("info")],  # pyright: ignore[reportArgumentType]
        prog="wtflow",
        description=__doc__,
        args=arguments,
    )
    again = "--resume goes on where it stopped" if isinstance(asked, Predict) else ""
    advice = "check its permissions and the space there, or give another --out"
    return command.status(lambda: _execute(asked), again=again, advice=advice)


def _execute(asked: Fit | Predict | Evaluate | Report | Export | Info) -> int:
    from wtflow_jax.support import compilation

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # What one command has compiled, the next one takes from there, if it can be kept.
        with contextlib.suppress(OSError):
            compilation.keep(CACHE / "compiled")
    return asked.execute()
