"""Runs several experiments one after another; the same command again resumes them.

    python experiments/all.py loss_vs_wt ablation_target -- --root mvtec_ad --categories bottle
    python experiments/all.py -- --smoke                      # all, about a minute each

The flags after ``--`` go to each experiment, which adds the missing rows to ``runs/NAME``. Trained
models are shared. If an experiment fails, its error is printed and the next one runs; the exit
status is then 1.
"""

import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Annotated, TypeVar

import tyro
from rich.console import Console
from rich.rule import Rule

from wtflow_jax.lab import experiment
from wtflow_jax.support.console import status
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.helptext import arg, flowing

Flags = TypeVar("Flags")


@dataclass(frozen=True)
class Settings:
    """Which experiments to run."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional, arg(metavar="[NAME [NAME ...]]")] = ()
    """Experiments; left out: all."""
    out: Path = Path("runs")
    """Parent of the output directories, one per experiment."""


def command(
    arguments: Sequence[str],
    flags: type[Flags],
    description: str | None,
    work: Callable[[Flags, list[str]], int],
) -> int:
    """Call ``work`` with a command's own flags and the words after ``--``; return its status."""

    def parsed() -> int:
        own = list(takewhile(lambda word: word != "--", arguments))
        flowing([flags], own)
        found, more = tyro.cli(flags, args=own, description=description, return_unknown_args=True)
        if more:
            raise WTFlowError(f"{more[0]}: unknown flag; give flags of experiments after --")
        return work(found, list(arguments[len(own) + 1 :]))

    return status(parsed, again="the same command goes on")


def main(experiments: Path, arguments: Sequence[str]) -> int:
    """Run the experiments that the arguments name, and return the exit status."""
    return command(arguments, Settings, __doc__, partial(_run, experiments))


def _run(experiments: Path, settings: Settings, words: list[str]) -> int:
    names = settings.names or experiment.names(experiments)
    chosen = [experiment.load(experiments, name) for name in names]
    failed = []
    for i, one in enumerate(chosen, 1):
        Console(stderr=True).print(Rule(f"{one.name}, {i} of {len(chosen)}"))
        try:
            out = str(settings.out / one.name)
            found = experiment.main(one, ["--out", out, "--resume", *words])
        # For instance out of memory: the others may need less.
        except Exception:
            traceback.print_exc()
            found = 1
        if found > 128:
            print("the same command goes on", file=sys.stderr)
            return found
        failed += [one.name] * bool(found)
    if failed:
        raise WTFlowError(f"{', '.join(failed)} failed, see above")
    return 0
