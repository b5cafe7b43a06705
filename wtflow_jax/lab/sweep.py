"""An experiment's categories and seeds as jobs: on this machine, on its GPUs, or as a SLURM array.

    python experiments/sweep.py mvtec -- --root mvtec_ad --seeds 3
    python experiments/sweep.py mvtec --jobs 4 --gpus 4 -- --root mvtec_ad
    python experiments/sweep.py mvtec --cluster slurm --jobs 15 --gpus 1 -- --root mvtec_ad

A job is one category with one seed: the experiment with --categories, --seed and the flags after
``--``, run by submitit. When all are done their rows become one results.json and one table in
``runs/NAME``. Trained models are shared, so a job that failed or was pre-empted goes on from its
last checkpoint when the same command is given again, and what is finished is not done twice.
"""

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import jax
import tyro

from wtflow_jax.lab import category, experiment, flags, results, store
from wtflow_jax.lab.all import command
from wtflow_jax.support.console import Advance, bars
from wtflow_jax.support.errors import WTFlowError, shown
from wtflow_jax.support.files import alone
from wtflow_jax.support.helptext import arg
from wtflow_jax.support.parts import check_ranges


@dataclass(frozen=True)
class Settings:
    """Which jobs, and how they are run."""

    name: Annotated[str, tyro.conf.Positional]
    """The experiment."""
    cluster: Literal["local", "slurm"] = "local"
    """Where jobs run: as processes of this machine, or by SLURM."""
    jobs: int = 1
    """Jobs at once, at most."""
    gpus: int = 0
    """GPUs of this machine, one a job; 0 leaves all to each. With SLURM, of a job."""
    cpus: int = 2
    """SLURM: cores of a job."""
    hours: float = 24.0
    """Time after which a job is ended."""
    partition: Annotated[str | None, arg(metavar="NAME")] = None
    """SLURM's partition."""
    out: Path = Path("runs")
    """Directory that gets a directory for the experiment, with one for its jobs in it."""

    RANGES: ClassVar = {"jobs": (1, None), "gpus": (0, None), "hours": (0.02, 100_000)}


VISIBLE = "CUDA_VISIBLE_DEVICES"
Part = tuple[str, int]
"""A category and a seed."""
Start = Callable[[Part, int], Any]
"""Starts a job, the slot-th of those at once, and returns submitit's."""


def main(experiments: Path, arguments: Sequence[str]) -> int:
    """Sweep an experiment of a directory as the arguments say, and return the exit status."""
    # Jobs take the accelerators, and end with the sweep however it is stopped.
    jax.config.update("jax_platforms", "cpu")
    return command(arguments, Settings, __doc__, partial(sweep, experiments))


def sweep(experiments: Path, settings: Settings, words: list[str]) -> int:
    """Run jobs with an experiment's words, put their rows together and return the exit status."""
    _check(settings)
    from submitit.helpers import as_completed

    chosen, out = experiment.load(experiments, settings.name), settings.out / settings.name
    # The last of a flag counts.
    whole = [*words, "--out", str(out), "--resume"]
    setup = chosen.parse(whole)
    flags.check(setup, chosen.variants(setup))
    if any(word.partition("=")[0] == "--out" for word in words):
        raise WTFlowError("--out: is the sweep's own; give it before the --")
    if setup.devices.coordinator is not None:
        raise WTFlowError("--coordinator: a job is one process; leave it out of a sweep")
    first = setup.config().training.seed
    seeds = range(first, first + setup.run.seeds)
    asked = [(one.name, seed) for one in category.opened(setup) for seed in seeds]
    # Before minutes of work: was it begun with other flags?
    _merge(chosen, setup, [])
    jobs, executor = dict[Part, Any](), _executor(settings)

    def start(part: Part, slot: int) -> Any:
        name, seed = part
        own = ["--categories", name, "--seed", str(seed), "--seeds", "1"]
        own += ["--out", str(out / _place(part))]
        given = experiments, settings.name, [*whole, *own], devices(settings, slot)
        jobs[part] = executor.submit(run_job, *given)
        return jobs[part]

    with bars() as track:
        advance = track(settings.name, len(asked))
        advance(0, f"{settings.jobs} at once, logs in {out / LOGS}")
        try:
            if settings.cluster == "local":
                _run_here(settings.jobs, asked, start, advance)
            else:
                # One array, of which SLURM runs --jobs at once.
                with executor.batch():
                    for part in asked:
                        start(part, 0)
                for _ in as_completed(list(jobs.values())):
                    advance()
        finally:
            # They would go on without a sweep that was stopped.
            for job in jobs.values():
                if not job.done():
                    job.cancel()
    _merge(chosen, setup, [row for part in asked for row in _rows(out, part)])
    failed = {part: job for part, job in jobs.items() if job.exception() is not None}
    for (name, seed), job in failed.items():
        print(shown(f"{name}, seed {seed}: {_reason(job)}"), file=sys.stderr)
    if failed:
        raise WTFlowError(
            f"{len(failed)} of {len(jobs)} jobs failed, see above; the same command goes on "
            "with them"
        )
    return experiment.main(chosen, whole)


def _check(settings: Settings) -> None:
    check_ranges(settings)
    here = len(_visible(settings))
    if settings.cluster == "local" and settings.gpus and settings.jobs > here:
        raise WTFlowError(f"--jobs {settings.jobs}: give at most {here}, a GPU each")
    if importlib.util.find_spec("submitit") is None:
        raise WTFlowError("submitit is not installed; pip install -e '.[sweep]' -c constraints.txt")


def _run_here(most: int, asked: list[Part], start: Start, advance: Advance) -> None:
    """Keep ``most`` of them running, each with a GPU of its own where there are some."""
    waiting, running = list(asked), dict[int, Any]()
    while waiting or running:
        for slot in range(most):
            if slot in running and running[slot].done():
                del running[slot]
                advance()
            if slot not in running and waiting:
                running[slot] = start(waiting.pop(0), slot)
        time.sleep(0.2)


def _executor(settings: Settings) -> Any:
    import submitit

    logs = settings.out / settings.name / LOGS
    try:
        executor = submitit.AutoExecutor(logs, cluster=settings.cluster)
    except RuntimeError as error:
        raise WTFlowError(f"--cluster {settings.cluster}: {error}") from error
    executor.update_parameters(timeout_min=round(60 * settings.hours), name=settings.name)
    if settings.cluster == "slurm":
        executor.update_parameters(
            cpus_per_task=settings.cpus,
            gpus_per_node=settings.gpus or None,
            slurm_array_parallelism=settings.jobs,
            slurm_partition=settings.partition,
        )
    return executor


def devices(settings: Settings, slot: int) -> dict[str, str | None]:
    """Return the variables that show a job, the slot-th of those at once, its GPUs."""
    if settings.cluster == "slurm":
        # It says so itself.
        return {}
    # submitit hides all GPUs of a local job.
    return {VISIBLE: _visible(settings)[slot] if settings.gpus else os.environ.get(VISIBLE)}


def _visible(settings: Settings) -> list[str]:
    """Return the names of the first --gpus GPUs that this process sees."""
    seen = os.environ.get(VISIBLE)
    names = map(str, range(settings.gpus)) if seen is None else filter(None, seen.split(","))
    return list(names)[: settings.gpus]


def run_job(
    experiments: Path, name: str, words: list[str], environment: dict[str, str | None]
) -> None:
    """Run an experiment in the process of a job; variables that are None are unset."""
    for variable, value in environment.items():
        os.environ.pop(variable, None)
        if value is not None:
            os.environ[variable] = value
    chosen = experiment.load(experiments, name)
    if found := experiment.main(chosen, words):
        raise RuntimeError(f"exit status {found}")


LOGS = Path("jobs", "logs")


def _place(part: Part) -> Path:
    """Return the directory of a job, below the sweep's own results."""
    return Path("jobs", f"{part[0]}-{part[1]}")


def _rows(out: Path, part: Part) -> list[results.Row]:
    path = out / _place(part) / results.FILE
    rows = results.read(path)["rows"] if path.exists() else []
    for row in rows:
        if "scores" in row:
            # A page of the sweep looks for them there.
            row["scores"] = (_place(part) / row["scores"]).as_posix()
    return rows


def _reason(job: Any) -> str:
    """Return the last line that a job has written to its log."""
    lines = (job.stderr() or job.stdout() or "").strip().splitlines()
    told = [line for line in lines if line.startswith("error: ")]
    return (told or lines or [f"see {job.paths.stderr}"])[-1]


def _merge(chosen: experiment.Experiment, setup: flags.Setup, rows: results.Rows) -> None:
    """Add rows that were measured by jobs to the sweep's results; those of other code are left."""
    with alone(setup.run.out):
        found = results.begin(chosen.name, setup)
        code = store.code(chosen.measure)
        own = [row for row in (*found["rows"], *rows) if row.get("code") == code]
        found["rows"] = [*{(r["category"], r["variant"], r["seed"]): r for r in own}.values()]
        results.write(setup.run.out, found, chosen.tables(setup, found["rows"]))
