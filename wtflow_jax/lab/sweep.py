"""Runs an experiment as jobs: on this machine, on its GPUs, or as a SLURM array.

    python experiments/sweep.py mvtec -- --root mvtec_ad --seeds 3
    python experiments/sweep.py mvtec --jobs 4 --gpus 4 -- --root mvtec_ad
    python experiments/sweep.py mvtec --cluster slurm --jobs 15 --gpus 1 -- --root mvtec_ad

A job is one category with one seed: submitit runs the experiment with --categories, --seed and the
flags after ``--``. When all jobs are done, their rows become one results.json and one table in
``runs/NAME``. Trained models are shared. Run the same command again to resume jobs that failed or
were pre-empted, from their last checkpoint; finished jobs are not repeated.
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
    """Which jobs to run, and how."""

    name: Annotated[str, tyro.conf.Positional]
    """The experiment."""
    cluster: Literal["local", "slurm"] = "local"
    """Where jobs run: as processes of this machine, or by SLURM."""
    jobs: int = 1
    """Largest number of jobs at once."""
    gpus: int = 0
    """Local: GPUs to use, one per job; with 0 each job sees all. SLURM: GPUs per job."""
    cpus: int = 2
    """SLURM: cores per job."""
    hours: float = 24.0
    """Time limit of a job."""
    partition: Annotated[str | None, arg(metavar="NAME")] = None
    """SLURM partition."""
    out: Path = Path("runs")
    """Parent of the experiment's directory, which also holds its jobs."""

    RANGES: ClassVar = {"jobs": (1, None), "gpus": (0, None), "hours": (0.02, 100_000)}


VISIBLE = "CUDA_VISIBLE_DEVICES"
Part = tuple[str, int]
"""A category and a seed."""
Start = Callable[[Part, int], Any]
"""Starts a job in one of the slots 0 to jobs − 1, and returns submitit's job."""


def main(experiments: Path, arguments: Sequence[str]) -> int:
    """Sweep an experiment of a directory as the arguments say, and return the exit status."""
    # The jobs need the accelerators, not this process.
    jax.config.update("jax_platforms", "cpu")
    return command(arguments, Settings, __doc__, partial(sweep, experiments))


def sweep(experiments: Path, settings: Settings, words: list[str]) -> int:
    """Run an experiment's jobs with its flags, merge their rows and return the exit status."""
    _check(settings)
    from submitit.helpers import as_completed

    chosen, out = experiment.load(experiments, settings.name), settings.out / settings.name
    # If a flag is given twice, the last one counts.
    whole = [*words, "--out", str(out), "--resume"]
    setup = chosen.parse(whole)
    flags.check(setup, chosen.variants(setup))
    if any(word.partition("=")[0] == "--out" for word in words):
        raise WTFlowError("--out: is a flag of the sweep; give it before the --")
    if setup.devices.coordinator is not None:
        raise WTFlowError("--coordinator: a job of a sweep is one process; leave it out")
    first = setup.config().training.seed
    seeds = range(first, first + setup.run.seeds)
    asked = [(one.name, seed) for one in category.opened(setup) for seed in seeds]
    # Before minutes of work: fail if the sweep was begun with other flags.
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
                # One array; SLURM runs --jobs of its tasks at once.
                with executor.batch():
                    for part in asked:
                        start(part, 0)
                for _ in as_completed(list(jobs.values())):
                    advance()
        finally:
            # Jobs would outlive a stopped sweep.
            for job in jobs.values():
                if not job.done():
                    job.cancel()
    _merge(chosen, setup, [row for part in asked for row in _rows(out, part)])
    failed = {part: job for part, job in jobs.items() if job.exception() is not None}
    for (name, seed), job in failed.items():
        print(shown(f"{name}, seed {seed}: {_reason(job)}"), file=sys.stderr)
    if failed:
        raise WTFlowError(
            f"{len(failed)} of {len(jobs)} jobs failed, see above; run the same command to "
            "resume them"
        )
    return experiment.main(chosen, whole)


def _check(settings: Settings) -> None:
    check_ranges(settings)
    here = len(_visible(settings))
    if settings.cluster == "local" and settings.gpus and settings.jobs > here:
        raise WTFlowError(f"--jobs {settings.jobs}: give at most {here}, one GPU per job")
    if importlib.util.find_spec("submitit") is None:
        raise WTFlowError("submitit is not installed; pip install -e '.[sweep]' -c constraints.txt")


def _run_here(most: int, asked: list[Part], start: Start, advance: Advance) -> None:
    """Keep ``most`` jobs running; each slot has its own GPU if ``--gpus`` is given."""
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
    """Return the environment variables that select the GPUs of the job in a slot."""
    if settings.cluster == "slurm":
        # SLURM sets them itself.
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
    """Run an experiment in a job's process; an environment variable of value None is unset."""
    for variable, value in environment.items():
        os.environ.pop(variable, None)
        if value is not None:
            os.environ[variable] = value
    chosen = experiment.load(experiments, name)
    if found := experiment.main(chosen, words):
        raise RuntimeError(f"exit status {found}")


LOGS = Path("jobs", "logs")


def _place(part: Part) -> Path:
    """Return the directory of a job, relative to the sweep's results."""
    return Path("jobs", f"{part[0]}-{part[1]}")


def _rows(out: Path, part: Part) -> list[results.Row]:
    path = out / _place(part) / results.FILE
    rows = results.read(path)["rows"] if path.exists() else []
    for row in rows:
        if "scores" in row:
            # The sweep's report looks for the scores relative to the sweep.
            row["scores"] = (_place(part) / row["scores"]).as_posix()
    return rows


def _reason(job: Any) -> str:
    """Return the last error line of a job's log, or else its last line."""
    lines = (job.stderr() or job.stdout() or "").strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or [f"see {job.paths.stderr}"])[-1]


def _merge(chosen: experiment.Experiment, setup: flags.Setup, rows: results.Rows) -> None:
    """Add the rows of jobs to the sweep's results; drop rows measured by other code."""
    with alone(setup.run.out):
        found = results.begin(chosen.name, setup)
        code = store.code(chosen.measure)
        own = [row for row in (*found["rows"], *rows) if row.get("code") == code]
        found["rows"] = [*{(r["category"], r["variant"], r["seed"]): r for r in own}.values()]
        results.write(setup.run.out, found, chosen.tables(setup, found["rows"]))
