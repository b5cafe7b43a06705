"""Several experiments one after another; called again, it goes on where it stopped.

    python experiments/all.py loss_vs_wt ablation_target -- --root mvtec_ad --categories bottle
    python experiments/all.py -- --smoke                      # every one, a minute or so each

What stands after ``--`` is given to each of them, which adds to ``runs/NAME`` what that lacks;
trained models are shared. One that fails is told of and the next goes on. Exit status 1 where one
failed.
"""

import importlib
import sys
import traceback
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.rule import Rule

from wtflow_jax.lab import common, interrupts
from wtflow_jax.support import command

NAMES = (
    *("mvtec", "visa", "loco", "mpdd", "mvtec3d", "btad", "mtd", "kolektor", "folder"),
    *("solver_steps", "ablation_width", "ablation_target", "ablation_placement", "backbones"),
    *("loss_vs_wt", "time_law", "seeds", "start_radius", "improvements"),
    *("exact_field", "velocities", "held_out", "pooling", "radial", "geometry"),
)

OWN = ("--out", "--help")
"""Flags of this command; it resumes by itself."""


def main(arguments: list[str]) -> int:
    """Run what the arguments name and return the exit status."""
    return command.status(lambda: _main(arguments), again="the same command goes on")


def _main(arguments: list[str]) -> int:
    at = arguments.index("--") if "--" in arguments else len(arguments)
    ours, theirs = arguments[:at], arguments[at + 1 :]

    def read(
        names: Annotated[tuple[str, ...], tyro.conf.Positional] = (), out: Path = Path("runs")
    ) -> tuple[tuple[str, ...], Path]:
        """Read what is run.

        Args:
            names: experiments; left out: all.
            out: directory that gets a directory each.
        """
        return names or NAMES, out

    named = [word.partition("=")[0] for word in ours if word.startswith("--")]
    if flags := [name for name in named if name not in OWN]:
        print(
            f"error: {flags[0]}: is no flag of all.py; give those of the experiments after --",
            file=sys.stderr,
        )
        return 1
    names, out = tyro.cli(read, args=ours, description=__doc__)
    if unknown := [name for name in names if name not in NAMES]:
        print(
            f"error: {unknown[0]}: no experiment; choose from {', '.join(NAMES)}", file=sys.stderr
        )
        return 1
    failed = []
    for i, name in enumerate(names):
        Console(stderr=True).print(Rule(f"{name}, {i + 1} of {len(names)}"))
        experiment = importlib.import_module(name).EXPERIMENT
        try:
            status = common.main(experiment, ["--out", str(out / name), "--resume", *theirs])
        # Out of memory for instance: the others may have room.
        except Exception:
            traceback.print_exc()
            status = 1
        if status > 128:
            print("the same command goes on", file=sys.stderr)
            return status
        if status:
            failed.append(name)
    if failed:
        print(f"error: {', '.join(failed)} failed, as told above", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
