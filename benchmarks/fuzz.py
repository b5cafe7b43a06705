"""Does anything that a file may say end in a traceback, or never?

    python benchmarks/fuzz.py                       # hypothesis, all entrances
    TMPDIR=/dev/shm python benchmarks/fuzz.py csv --seconds 300
    python benchmarks/fuzz.py image --atheris       # guided by coverage; pip install atheris

Valid files are mutated (bytes changed, cut out, doubled, taken from another) and hostile ones
built; each has to come to a result or to a WTFlowError of one line, within ``LIMIT``. Anything else
is printed, and its input kept in ``--out``. Each entrance has a process of its own, whose end by a
signal is a finding too.
"""

import contextlib
import hashlib
import inspect
import json
import logging
import mmap
import multiprocessing
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from entrances import ENTRANCES, Entrance
from wtflow_jax.support.errors import WTFlowError

LIMIT = 10
"""Seconds for an input."""
GUIDES = (
    *(
        "wtflow_jax.data",
        "wtflow_jax.support.untrusted",
        "wtflow_jax.backbones",
        "wtflow_jax.detector.model",
    ),
    *(
        "wtflow_jax.support.shards",
        "wtflow_jax.app.report",
        "PIL.",
        "zipfile",
        "pickletools",
        "csv",
    ),
)
"""Modules whose branches guide atheris."""


@dataclass(frozen=True)
class Settings:
    """What is tried."""

    entrances: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """image, csv, json, safetensors, pickle; left out: all."""
    seconds: float = 30
    """For each."""
    atheris: bool = False
    """Guided by coverage, instead of hypothesis."""
    out: Path = Path("runs/fuzz")
    """Where inputs that were found are kept."""
    seed: int = 0
    """Of all that is drawn."""


class Trial:
    """Tries inputs at an entrance.

    Attributes:
        counts: memory of two numbers, shared with who asked: inputs tried, and results.
        found: what else came of any, each kind once.
    """

    def __init__(self, name: str, entrance: Entrance, out: Path, counts: mmap.mmap) -> None:
        """Start with none."""
        self.name, self.entrance, self.out, self.counts = name, entrance, out, counts
        self.tried = self.results = 0
        self.found: set[str] = set()
        signal.signal(signal.SIGALRM, _too_long)

    def __call__(self, content: bytes) -> None:
        """Try one input."""
        self.tried += 1
        signal.alarm(LIMIT)
        try:
            self.entrance.call(content)
            self.results += 1
        except WTFlowError as error:
            if len(str(error).splitlines()) != 1:
                self._keep(content, "a message of several lines", str(error))
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
            self._keep(content, where, traceback.format_exc())
        finally:
            signal.alarm(0)
            self.counts[:] = COUNTS.pack(self.tried, self.results, len(self.found))

    def _keep(self, content: bytes, what: str, told: str) -> None:
        if what not in self.found:
            self.found.add(what)
            self.out.mkdir(parents=True, exist_ok=True)
            path = self.out / f"{self.name}-{hashlib.sha256(content).hexdigest()[:12]}"
            path.write_bytes(content)
            print(f"{self.name}: {what}: {path}\n{told}", file=sys.stderr)


COUNTS = struct.Struct("<QQQ")
"""Inputs tried, results, findings."""


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {LIMIT} seconds")


def mutated(number: int, seeds: list[bytes]) -> bytes:
    """Return a content of the seeds after some changes, the same for the same number."""
    draw = random.Random(number)
    content = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        at, to = sorted(draw.randrange(len(content) + 1) for _ in range(2))
        to = min(to, at + draw.choice((1, 4, 64, 4096)))
        other = draw.choice(seeds)
        start = draw.randrange(len(other) + 1)
        content[at:to] = draw.choice(
            (
                bytes(b ^ (1 << draw.randrange(8)) for b in content[at:to]),
                draw.randbytes(to - at),
                b"",
                bytes(content[at:to]) * 2,
                other[start : start + to - at],
                draw.choice((b"\x00", b"\xff", b"-1", b"9" * 20, b"[", b'"', b"..", b"\n", b"NaN")),
            )
        )
    return bytes(content)


def by_hypothesis(trial: Trial, asked: Settings) -> None:
    """Draw inputs until the time is up; each seed as it is comes first."""
    seeds = trial.entrance.seeds
    for content in seeds:
        trial(content)
    values = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    values = st.recursive(values, lambda v: st.lists(v) | st.dictionaries(st.text(), v))
    heads = st.sampled_from(seeds).map(lambda content: content[:8])
    drawn = st.one_of(
        # Drawing costs more than trying.
        st.integers(0, 2**60).map(lambda n: [mutated(n + i, seeds) for i in range(64)]),
        st.tuples(st.builds(bytes.__add__, heads, st.binary())),
        st.tuples(st.builds(lambda h, v: h[:1] + json.dumps(v).encode(), heads, values)),
    )

    def attempt(contents: list[bytes]) -> None:
        for content in contents:
            trial(content)

    end, number = time.monotonic() + asked.seconds, asked.seed
    many = settings(
        max_examples=200,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    while time.monotonic() < end:
        seed(number)(many(given(drawn)(attempt)))()
        number += 1


def by_atheris(trial: Trial, asked: Settings, place: Path) -> None:
    """Have atheris draw inputs until the time is up; it does not return."""
    import atheris

    functions = [
        function
        for name, module in list(sys.modules.items())
        if name.startswith(GUIDES)
        for scope in (module, *filter(inspect.isclass, vars(module).values()))
        for function in vars(scope).values()
        if isinstance(function, types.FunctionType) and function.__module__ == name
    ]
    for function in functions:
        with contextlib.suppress(Exception):  # Of generated functions there is no code to guide by.
            atheris.instrument_func(function)  # pyright: ignore[reportAttributeAccessIssue]
    corpus = place / "corpus"
    corpus.mkdir()
    for i, content in enumerate(trial.entrance.seeds):
        (corpus / str(i)).write_bytes(content)
    flags = [f"-max_total_time={int(asked.seconds)}", f"-seed={asked.seed + 1}", "-max_len=20000"]
    atheris.Setup([sys.argv[0], str(corpus), *flags, "-rss_limit_mb=8192", "-verbosity=0"], trial)
    atheris.Fuzz()


def attempt(name: str, asked: Settings, counts: mmap.mmap, place: Path) -> None:
    """Try one entrance, in a process of its own."""
    logging.disable()
    trial = Trial(name, ENTRANCES[name](place), asked.out, counts)
    if asked.atheris:
        by_atheris(trial, asked, place)
    else:
        by_hypothesis(trial, asked)


def main(asked: Settings) -> int:
    """Try all, print a table, and return 1 where anything was found."""
    if unknown := set(asked.entrances) - set(ENTRANCES):
        raise SystemExit(f"{min(unknown)}: no such entrance; take of {', '.join(ENTRANCES)}")
    table = Table("entrance", "inputs", "results", "lines", "findings", "seconds")
    failed = False
    for name in asked.entrances or ENTRANCES:
        counts = mmap.mmap(-1, COUNTS.size)
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as place:
            process = FORK.Process(target=attempt, args=(name, asked, counts, Path(place)))
            process.start()
            process.join()
        tried, results, found = COUNTS.unpack(counts[:])
        if process.exitcode:
            print(f"{name}: its process ended with {process.exitcode}", file=sys.stderr)
            found += 1
        seconds = time.monotonic() - start
        table.add_row(*map(str, (name, tried, results, tried - results, found, f"{seconds:.0f}")))
        failed |= bool(found)
    Console().print(table)
    return int(failed)


FORK = multiprocessing.get_context("fork")
"""Nothing is computed before a process is forked; counts are in memory that both have."""

if __name__ == "__main__":
    sys.exit(main(tyro.cli(Settings, description=__doc__)))
