"""The flags of experiments: data, results and devices, besides the flags that decide a model."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import tyro

from wtflow_jax.detector.config import GROUPS, Config, check_used, configure, options
from wtflow_jax.support.environment import CACHE
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.helptext import arg, flowing
from wtflow_jax.support.parts import check_ranges

Directory = Annotated[Path, arg(metavar="DIR")]


@dataclass(frozen=True)
class Data:
    """The images, and the weights of the backbone."""

    root: Annotated[Path | None, arg(metavar="DIR")] = None
    """The data set's directory; left out: a built-in category."""
    data: Annotated[str, arg(metavar="LAYOUT")] = "mvtec_ad"
    """Its layout (python -m wtflow_jax.datasets check --help lists them), or tfds:LAYOUT."""
    categories: Annotated[tuple[str, ...], arg(metavar="[NAME [NAME ...]]")] = ()
    """Categories of the data set; left out: all."""
    validation: float = 0.0
    """Share of training images held out to set the threshold, if there are no validation images."""
    weights: Annotated[str | None, arg(metavar="FILE")] = None
    """The backbone's .safetensors or .pth file, or a directory of files that begin with a
    backbone's name; left out: the installed package (Lite0) or a download."""

    RANGES: ClassVar = {"validation": (0, 1 - 1e-9)}


@dataclass(frozen=True)
class Run:
    """The run: preset, seeds, and where results go."""

    out: Directory = Path("runs/mvtec")
    """Where results go."""
    models: Directory = Path("runs/models")
    """Directory of trained models; no model is trained twice."""
    cache: Directory = CACHE
    """Directory for features, downloaded weights and the built-in category."""
    preset: Literal["small", "paper", "auto", "fine"] = "small"
    """Defaults of the other flags: small runs anywhere, paper is Sec. V-A, auto trains nothing,
    fine is auto with more pixels and cells."""
    resume: bool = False
    """Add the missing results to --out; start if it is empty."""
    smoke: bool = False
    """Check on a few images, in seconds, that everything works."""
    seeds: int = 1
    """Number of seeds, from --seed on."""

    RANGES: ClassVar = {"seeds": (1, None)}


@dataclass(frozen=True)
class Devices:
    """Devices that train. A run may resume on other devices; they sum in another order."""

    resident: float = 0.5
    """Share of memory for training features, before and after the WT map; larger ones are
    streamed from disk."""
    mesh: tuple[int, int] = (1, 1)
    """DATA and MODEL: DATA × MODEL devices train. Batches are split over all, the state over
    MODEL of them."""
    coordinator: Annotated[str | None, arg(metavar="HOST:PORT")] = None
    """host:port of process 0, if several processes train; auto asks SLURM, Open MPI or
    Kubernetes."""
    processes: int = 1
    """Number of processes."""
    process: int = 0
    """Index of this process, from 0."""

    RANGES: ClassVar = {"resident": (0, 1), "mesh": (1, None)}

    def check(self) -> None:
        """Raise WTFlowError if a value is out of its range."""
        check_ranges(self)
        host, _, port = (self.coordinator or "").rpartition(":")
        number = int(port) if port.isdecimal() else 0
        if self.coordinator not in (None, "auto") and not (host and 0 < number < 2**16):
            raise WTFlowError(f"--coordinator {self.coordinator}: give host:port, or auto")
        if self.processes != 1 and (self.processes < 1 or self.coordinator is None):
            raise WTFlowError(f"--processes {self.processes}: give 1, or more with --coordinator")
        if not 0 <= self.process < self.processes:
            raise WTFlowError(f"--process {self.process}: give at least 0 and below --processes")


LAB = {"data": Data, "run": Run, "devices": Devices}


class Setup(NamedTuple):
    """A parsed command line; ``asked`` has the given flags among those that decide a model."""

    data: Data
    run: Run
    devices: Devices
    asked: Mapping[str, Any]

    def config(self, **changes: Any) -> Config:
        """Return the config, with some flags changed."""
        own = {"smoke": self.run.smoke, "preset": self.run.preset}
        return configure(**{**own, **self.asked, **changes})

    def flags(self) -> dict[str, Any]:
        """Return the values of all flags by name."""
        own = {f.name: getattr(part, f.name) for part in self[:3] for f in fields(part)}
        return own | self.config().flags()

    def comparable(self) -> dict[str, Any]:
        """Return the flags that must be equal when a run is resumed."""
        elsewhere = {"out", "models", "cache", "resume", "seeds", *Devices.__dataclass_fields__}
        return {name: value for name, value in self.flags().items() if name not in elsewhere}


def _groups() -> dict[str, type]:
    return LAB | GROUPS | _option_groups()


def known() -> list[str]:
    """Return the names of all flags."""
    return [f.name for group in _groups().values() for f in fields(group)]


def _made(group: type, given: Mapping[str, Any]) -> Any:
    return group(**{f.name: given[f.name] for f in fields(group) if f.name in given})


def setup(given: Mapping[str, Any]) -> Setup:
    """Return the setup of flags given by name."""
    own = {f.name for group in LAB.values() for f in fields(group)}
    asked = {name: value for name, value in given.items() if name not in own}
    return Setup(_made(Data, given), _made(Run, given), _made(Devices, given), asked)


def parse(arguments: Sequence[str], given: Mapping[str, Any], description: str) -> Setup:
    """Read a command line; ``given`` are an experiment's own defaults, by flag."""
    flowing([*_groups().values()], arguments)
    parts = [
        (name, Annotated[group, tyro.conf.OmitArgPrefixes], field(default=_made(group, given)))
        for name, group in _groups().items()
    ]
    read = tyro.cli(make_dataclass("Flags", parts), args=list(arguments), description=description)
    values = {f.name: getattr(part, f.name) for part in vars(read).values() for f in fields(part)}
    words = {word.partition("=")[0].replace("-", "_") for word in arguments}
    named = {k: v for k, v in values.items() if f"__{k}" in words or f"__no_{k}" in words}
    return setup({**given, **named})


def _option_groups() -> dict[str, type]:
    """Return the classes whose fields are options of parts, each once, by title."""
    return dict(options(f.name for group in LAB.values() for f in fields(group)).values())


def check(found: Setup, variants: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise WTFlowError if a flag is out of its range or belongs to no chosen part."""
    for part in (found.data, found.run):
        check_ranges(part)
    found.devices.check()
    configs = [found.config(**changes) for changes in variants.values()]
    for config in configs:
        config.check()
        batch, devices = config.training.batch_size, found.devices.mesh[0] * found.devices.mesh[1]
        if batch % devices:
            raise WTFlowError(
                f"--batch-size {batch}: give a multiple of the {devices} devices of --mesh"
            )
    check_used(found.asked, configs)


def writable(*directories: Path) -> None:
    """Make directories; raise PermissionError if one is not writable."""
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK):
            raise PermissionError(13, os.strerror(13), str(directory))
