"""Several experiments one after another; called again, it goes on where it stopped.

    python experiments/all.py loss_vs_wt ablation_target -- --root mvtec_ad --categories bottle
    python experiments/all.py -- --smoke                      # every one, a minute or so each

What stands after ``--`` is given to each of them, which adds to ``runs/NAME`` what that lacks;
trained models are shared. One that fails is told of and the next goes on. Exit status 1 where one
failed.
"""

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.rule import Rule

from wtflow_jax.lab import experiment
from wtflow_jax.support.console import status
from wtflow_jax.support.errors import WTFlowError

OWN = ("--out", "--help")
"""Flags of this command; it resumes by itself."""


def main(experiments: Path, arguments: Sequence[str]) -> int:
    """Run what the arguments name and return the exit status.

    Args:
        experiments: directory of their files.
        arguments: of the command line.
    """
    return status(lambda: _main(experiments, arguments), again="the same command goes on")


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words before ``--`` and those after it."""
    at = list(arguments).index("--") if "--" in arguments else len(arguments)
    return list(arguments[:at]), list(arguments[at + 1 :])


def _main(experiments: Path, arguments: Sequence[str]) -> int:
    ours, theirs = split(arguments)

    def read(
        names: Annotated[tuple[str, ...], tyro.conf.Positional] = (), out: Path = Path("runs")
    ) -> tuple[tuple[str, ...], Path]:
        """Read what is run.

        Args:
            names: experiments; left out: all.
            out: directory that gets a directory each.
        """
        return names, out

    named = [word.partition("=")[0] for word in ours if word.startswith("--")]
    if flags := [name for name in named if name not in OWN]:
        raise WTFlowError(
            f"{flags[0]}: is no flag of all.py; give those of the experiments after --"
        )
    names, out = tyro.cli(read, args=ours, description=__doc__)
    chosen = {
        name: experiment.load(experiments, name) for name in names or experiment.names(experiments)
    }
    failed = []
    for i, (name, value) in enumerate(chosen.items()):
        Console(stderr=True).print(Rule(f"{name}, {i + 1} of {len(chosen)}"))
        try:
            found = experiment.main(value, ["--out", str(out / name), "--resume", *theirs])
        # Out of memory for instance: the others may have room.
        except Exception:
            traceback.print_exc()
            found = 1
        if found > 128:
            print("the same command goes on", file=sys.stderr)
            return found
        if found:
            failed.append(name)
    if failed:
        raise WTFlowError(f"{', '.join(failed)} failed, as told above")
    return 0
