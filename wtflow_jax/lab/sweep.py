"""An experiment's categories and seeds as jobs: on this machine, on its GPUs, or as a SLURM array.

    python experiments/sweep.py mvtec -- --root mvtec_ad --seeds 3
    python experiments/sweep.py mvtec --jobs 4 --gpus 4 -- --root mvtec_ad
    python experiments/sweep.py mvtec --cluster slurm --jobs 15 --gpus 1 --partition gpu -- \\
        --root mvtec_ad

A job is one category with one seed: the experiment with --categories, --seed and the flags after
``--``, run by submitit. When all are done their rows become one results.json and one table in
``runs/NAME``. Trained models are shared, so a job that failed or was pre-empted goes on from its
last checkpoint when the same command is given again, and what is finished is not done twice.
"""

import contextlib
import importlib
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import tyro
from rich.progress import Progress

from wtflow_jax.lab import categories, common, interrupts
from wtflow_jax.lab.all import NAMES
from wtflow_jax.support import command, untrusted
from wtflow_jax.support.errors import WTFlowError, shown
from wtflow_jax.support.progress import bars

try:
    import cloudpickle
    import submitit
except ImportError as missing:
    sys.exit(
        f"error: {missing.name} is not installed; pip install -e '.[sweep]' -c constraints.txt"
    )

# A job's process does not find this module by its name.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@dataclass(frozen=True)
class Settings:
    """Which jobs, and how they are run."""

    name: Annotated[str, tyro.conf.Positional]
    """The experiment."""
    cluster: Literal["local", "slurm"] = "local"
    """Where: processes of this machine, or SLURM."""
    jobs: int = 1
    """At once, at most."""
    gpus: int = 0
    """GPUs of this machine, one a job; 0 leaves all to each. With SLURM, of a job."""
    cpus: int = 2
    """SLURM: cores of a job."""
    hours: float = 24.0
    """A job is ended after so long."""
    partition: str | None = None
    """SLURM's."""
    out: Path = Path("runs")
    """Directory that gets a directory for the experiment, with one for its jobs in it."""


MINUTE = 1 / 60
VISIBLE = "CUDA_VISIBLE_DEVICES"
Part = tuple[str, int]
"""A category and a seed."""


def _jobs(settings: Settings) -> Path:
    return settings.out / settings.name / "jobs"


def _directory(settings: Settings, part: Part) -> Path:
    return _jobs(settings) / f"{part[0]}-{part[1]}"


def _flags(settings: Settings, part: Part, flags: list[str]) -> list[str]:
    name, seed = part
    own = ["--categories", name, "--seed", str(seed), "--seeds", "1", "--resume"]
    # The last of a flag counts.
    return [*flags, *own, "--out", str(_directory(settings, part))]


def run_job(
    experiments: str, name: str, flags: list[str], environment: dict[str, str | None]
) -> None:
    """Run an experiment in the process of a job, which gets this function by value.

    Args:
        experiments: directory of the experiments.
        name: of one.
        flags: its own.
        environment: variables to set; None unsets.

    Raises:
        RuntimeError: it failed, as its log says.
    """
    for variable, value in environment.items():
        os.environ.pop(variable, None)
        if value is not None:
            os.environ[variable] = value
    sys.path.insert(0, experiments)
    experiment = importlib.import_module(name).EXPERIMENT
    status = importlib.import_module("common").main(experiment, flags)
    if status:
        raise RuntimeError(f"exit status {status}")


def _executor(settings: Settings) -> submitit.AutoExecutor:
    try:
        executor = submitit.AutoExecutor(folder=_jobs(settings) / "logs", cluster=settings.cluster)
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
    """Return which of the GPUs that this process sees a job does; SLURM says so itself.

    Args:
        settings: the sweep's.
        slot: place of the job among those that run at once, from 0.
    """
    if settings.cluster == "slurm":
        return {}
    if not settings.gpus:
        # submitit hides all GPUs of a local job.
        return {VISIBLE: os.environ.get(VISIBLE)}
    return {VISIBLE: _visible(settings)[slot]}


def _visible(settings: Settings) -> list[str]:
    """Return the names of the first --gpus GPUs that this process sees."""
    seen = os.environ.get(VISIBLE)
    names = map(str, range(settings.gpus)) if seen is None else filter(None, seen.split(","))
    return list(names)[: settings.gpus]


def _start(
    executor: submitit.AutoExecutor, settings: Settings, part: Part, flags: list[str], slot: int = 0
) -> submitit.Job:
    here, environment = str(Path(__file__).parent), devices(settings, slot)
    own = _flags(settings, part, flags)
    return executor.submit(run_job, here, settings.name, own, environment)


def _run_here(
    settings: Settings, asked: list[Part], flags: list[str], progress: Progress, task: Any
) -> dict[Part, submitit.Job]:
    """Keep ``jobs`` of them running, each with a GPU of its own where there are some."""
    executor, waiting = _executor(settings), list(asked)
    running: dict[int, submitit.Job] = {}
    found: dict[Part, submitit.Job] = {}
    with _ended_with_us(found):
        while waiting or running:
            for slot in range(settings.jobs):
                if slot not in running and waiting:
                    part = waiting.pop(0)
                    running[slot] = found[part] = _start(executor, settings, part, flags, slot)
            for slot, job in list(running.items()):
                if job.done():
                    del running[slot]
                    progress.advance(task)
            time.sleep(0.2)
    return found


def _run_on_slurm(
    settings: Settings, asked: list[Part], flags: list[str], progress: Progress, task: Any
) -> dict[Part, submitit.Job]:
    """Submit them all as one array, of which SLURM runs ``jobs`` at once."""
    executor = _executor(settings)
    with executor.batch():
        found = {part: _start(executor, settings, part, flags) for part in asked}
    with _ended_with_us(found):
        for _ in submitit.helpers.as_completed(list(found.values())):
            progress.advance(task)
    return found


@contextlib.contextmanager
def _ended_with_us(jobs: dict[Part, submitit.Job]) -> Iterator[None]:
    """Cancel what would go on without a sweep that was stopped."""
    try:
        yield
    finally:
        for job in jobs.values():
            if not job.done():
                job.cancel()


def _rows(settings: Settings, part: Part) -> list[dict[str, Any]]:
    path = _directory(settings, part) / "results.json"
    if not path.exists():
        return []
    try:
        _, found = common.parse_rows(path.read_bytes())
        rows = [dict(row) for row in found]
        for row in rows:
            if "scores" in row:
                # Below the sweep's own results, where a page of them looks.
                scores = untrusted.inside(path.parent, row["scores"])
                row["scores"] = scores.relative_to(settings.out / settings.name).as_posix()
    except ValueError as error:
        raise WTFlowError(f"{path}: is no results file; delete {path.parent}") from error
    return rows


def _reason(job: submitit.Job) -> str:
    """Return the last line that a job has written to its log."""
    lines = (job.stderr() or job.stdout() or "").strip().splitlines()
    told = [line for line in lines if line.startswith("error: ")]
    return (told or lines or [f"see {job.paths.stderr}"])[-1]


def sweep(settings: Settings, flags: list[str]) -> int:
    """Run the jobs, put their rows together and return the exit status.

    Args:
        settings: how.
        flags: of the experiment, the same for all jobs.

    Raises:
        WTFlowError: bad flags, before a job is started.
    """
    if settings.name not in NAMES:
        raise WTFlowError(f"{settings.name}: no experiment; choose from {', '.join(NAMES)}")
    if settings.jobs < 1:
        raise WTFlowError(f"--jobs {settings.jobs}: give at least 1")
    if settings.gpus < 0:
        raise WTFlowError(f"--gpus {settings.gpus}: give at least 0")
    if not MINUTE <= settings.hours < math.inf:
        raise WTFlowError(f"--hours {settings.hours:g}: give at least a minute, {MINUTE:.3f}")
    if settings.cluster == "local" and settings.gpus:
        here = len(_visible(settings))
        if settings.jobs > here:
            raise WTFlowError(f"--jobs {settings.jobs}: give at most {here}, a GPU each")
    experiment = importlib.import_module(settings.name).EXPERIMENT
    config = replace(common.parse(experiment, flags), out=settings.out / settings.name)
    common.check(experiment, config)
    if any(flag.partition("=")[0] == "--out" for flag in flags):
        raise WTFlowError("--out: is the sweep's own; give it before the --")
    if config.coordinator is not None:
        raise WTFlowError("--coordinator: a job is one process; leave it out of a sweep")
    seeds = range(config.seed, config.seed + config.seeds)
    asked = [(category.name, seed) for category in categories.opened(config) for seed in seeds]
    # Before minutes of work: was it begun with other flags?
    common.merge(experiment, config, [])
    with bars() as progress:
        note = f"{settings.jobs} at once, logs in {_jobs(settings) / 'logs'}"
        task = progress.add_task(settings.name, total=len(asked), note=note)
        run = _run_here if settings.cluster == "local" else _run_on_slurm
        jobs = run(settings, asked, flags, progress, task)
    common.merge(experiment, config, [row for part in asked for row in _rows(settings, part)])
    failed = {part: job for part, job in jobs.items() if job.exception() is not None}
    for (name, seed), job in failed.items():
        print(shown(f"{name}, seed {seed}: {_reason(job)}"), file=sys.stderr)
    if failed:
        print(
            f"error: {len(failed)} of {len(jobs)} jobs failed, as told above; "
            "the same command goes on with them",
            file=sys.stderr,
        )
        return 1
    return common.main(experiment, [*flags, "--out", str(config.out), "--resume"])


def main(arguments: list[str]) -> int:
    """Read the flags, sweep and return the exit status."""
    at = arguments.index("--") if "--" in arguments else len(arguments)

    def work() -> int:
        settings, unknown = tyro.cli(
            Settings, args=arguments[:at], description=__doc__, return_unknown_args=True
        )
        if unknown:
            raise WTFlowError(
                f"{unknown[0]}: is no flag of a sweep; the experiment's come after a --"
            )
        return sweep(settings, arguments[at + 1 :])

    # Jobs end with the sweep however it is stopped.
    return command.status(work, again="the same command goes on")


if __name__ == "__main__":
    # Jobs take the accelerators.
    jax.config.update("jax_platforms", "cpu")
    sys.exit(main(sys.argv[1:]))
