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
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import jax
import tyro

from wtflow_jax.detector.config import check_ranges
from wtflow_jax.lab import category, experiment, flags, results
from wtflow_jax.lab.all import read
from wtflow_jax.support.console import Advance, bars, status
from wtflow_jax.support.errors import WTFlowError, shown
from wtflow_jax.support.files import alone


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
    experiments: tyro.conf.Suppress[Path] = Path("experiments")
    """Where the experiments' files are."""

    RANGES: ClassVar = {"jobs": (1, None), "gpus": (0, None)}

    @property
    def jobs_at(self) -> Path:
        """Directory of the jobs."""
        return self.out / self.name / "jobs"


MINUTE = 1 / 60
VISIBLE = "CUDA_VISIBLE_DEVICES"
Part = tuple[str, int]
"""A category and a seed."""
Jobs = dict[Part, Any]
"""submitit's."""


def main(experiments: Path, arguments: Sequence[str]) -> int:
    """Sweep an experiment of a directory as the arguments say, and return the exit status."""

    def work() -> int:
        refusal = "is no flag of a sweep; the experiment's come after a --"
        settings, words = read(arguments, Settings, __doc__, refusal)
        return sweep(replace(settings, experiments=experiments), words)

    # Jobs take the accelerators, and end with the sweep however it is stopped.
    jax.config.update("jax_platforms", "cpu")
    return status(work, again="the same command goes on")


def sweep(settings: Settings, words: list[str]) -> int:
    """Run jobs with an experiment's words, put their rows together and return the exit status."""
    _check(settings)
    chosen = experiment.load(settings.experiments, settings.name)
    setup = chosen.parse(words)
    setup = setup._replace(run=replace(setup.run, out=settings.out / settings.name, resume=True))
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
    jobs: Jobs = {}
    with bars() as track:
        advance = track(settings.name, len(asked))
        advance(0, f"{settings.jobs} at once, logs in {settings.jobs_at / 'logs'}")
        run = _run_here if settings.cluster == "local" else _run_on_slurm
        try:
            run(settings, asked, words, advance, jobs)
        finally:
            # They would go on without a sweep that was stopped.
            for job in jobs.values():
                if not job.done():
                    job.cancel()
    _merge(chosen, setup, [row for part in asked for row in _rows(settings, part)])
    failed = {part: job for part, job in jobs.items() if job.exception() is not None}
    for (name, seed), job in failed.items():
        print(shown(f"{name}, seed {seed}: {_reason(job)}"), file=sys.stderr)
    if failed:
        raise WTFlowError(
            f"{len(failed)} of {len(jobs)} jobs failed, as told above; the same command goes on "
            "with them"
        )
    return experiment.main(chosen, [*words, "--out", str(setup.run.out), "--resume"])


def _check(settings: Settings) -> None:
    check_ranges(settings)
    if not MINUTE <= settings.hours < math.inf:
        raise WTFlowError(f"--hours {settings.hours:g}: give at least a minute, {MINUTE:.3f}")
    if settings.cluster == "local" and settings.gpus:
        here = len(_visible(settings))
        if settings.jobs > here:
            raise WTFlowError(f"--jobs {settings.jobs}: give at most {here}, a GPU each")
    if importlib.util.find_spec("submitit") is None:
        raise WTFlowError("submitit is not installed; pip install -e '.[sweep]' -c constraints.txt")


def _run_here(
    settings: Settings, asked: list[Part], words: list[str], advance: Advance, jobs: Jobs
) -> None:
    """Keep ``settings.jobs`` of them running, each with a GPU of its own where there are some."""
    executor, waiting = _executor(settings), list(asked)
    running: dict[int, Any] = {}
    while waiting or running:
        for slot in range(settings.jobs):
            if slot in running and running[slot].done():
                del running[slot]
                advance()
            if slot not in running and waiting:
                part = waiting.pop(0)
                running[slot] = jobs[part] = _start(executor, settings, part, words, slot)
        time.sleep(0.2)


def _run_on_slurm(
    settings: Settings, asked: list[Part], words: list[str], advance: Advance, jobs: Jobs
) -> None:
    """Submit them all as one array, of which SLURM runs ``settings.jobs`` at once."""
    import submitit

    executor = _executor(settings)
    with executor.batch():
        jobs.update({part: _start(executor, settings, part, words) for part in asked})
    for _ in submitit.helpers.as_completed(list(jobs.values())):
        advance()


def _executor(settings: Settings) -> Any:
    import submitit

    try:
        executor = submitit.AutoExecutor(settings.jobs_at / "logs", cluster=settings.cluster)
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


def _start(executor: Any, settings: Settings, part: Part, words: list[str], slot: int = 0) -> Any:
    own = ["--categories", part[0], "--seed", str(part[1]), "--seeds", "1", "--resume"]
    # The last of a flag counts.
    words = [*words, *own, "--out", str(_directory(settings, part))]
    return executor.submit(
        run_job, settings.experiments, settings.name, words, devices(settings, slot)
    )


def _directory(settings: Settings, part: Part) -> Path:
    return settings.jobs_at / f"{part[0]}-{part[1]}"


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


def _rows(settings: Settings, part: Part) -> list[results.Row]:
    directory = _directory(settings, part)
    path = directory / results.FILE
    rows = results.read(path)["rows"] if path.exists() else []
    # Scores are named below the sweep's own results, where a page of them looks.
    below = directory.relative_to(settings.out / settings.name)
    return [
        row | ({"scores": (below / row["scores"]).as_posix()} if "scores" in row else {})
        for row in rows
    ]


def _reason(job: Any) -> str:
    """Return the last line that a job has written to its log."""
    lines = (job.stderr() or job.stdout() or "").strip().splitlines()
    told = [line for line in lines if line.startswith("error: ")]
    return (told or lines or [f"see {job.paths.stderr}"])[-1]


def _merge(chosen: experiment.Experiment, setup: flags.Setup, rows: results.Rows) -> None:
    """Add rows that were measured by jobs to the sweep's results."""
    with alone(setup.run.out):
        found = results.begin(chosen.name, setup)
        names = ("category", "variant", "seed")
        # What is new takes the place of what other code had measured.
        both = {tuple(row[name] for name in names): row for row in [*found["rows"], *rows]}
        found["rows"] = list(both.values())
        results.write(setup.run.out, found, chosen.tables(setup, found["rows"]))
