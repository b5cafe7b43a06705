"""wtflow: find defects in your own images, with good ones to learn from.

    wtflow fit photos/good --out model
    wtflow predict model photos/new --out found

Exit status: 0 where all went well, 1 where the input is bad (one line says what), 2 for flags that
do not exist, 3 where some images could not be scored (their rows say why), 130 when interrupted.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from wtflow_jax.config import CACHE, BackboneName
from wtflow_jax.errors import WTFlowError
from wtflow_jax.progress import bars

if TYPE_CHECKING:
    from wtflow_jax.model import Model

SOME_FAILED = 3


@dataclass(frozen=True)
class Fit:
    """Learn from good images alone; a threshold comes with the model."""

    images: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Good images: directories (all that is in them, nested), files, patterns, or - for a list of
    paths on standard input."""
    out: Path
    """Directory of the model."""
    false_alarms: float = 0.01
    """Share of good images that may be called defective."""
    preset: Literal["small", "fine"] = "small"
    """fine looks closer, at three times the time."""
    velocity: Literal["exact", "unet", "patch"] = "exact"
    """Velocity field: that of the good images themselves, or a network that is trained on them."""
    backbone: BackboneName = "efficientnet_lite0"
    """Frozen feature extractor."""
    weights: str | None = None
    """Its .safetensors or .pth file; left out: the installed package (Lite0) or a download."""
    image_size: str | None = None
    """HxW that images are scaled into, or a side S: about S x S pixels in the images' aspect.
    Multiples of 32; left out: the preset's."""
    overlap: int | None = None
    """Cut images, as large as they are, into windows of --image-size that overlap by so many
    pixels; left out: images are scaled into one window."""
    seed: int = 0
    """Decides which images are left out together, and what is drawn."""
    cache: Path = CACHE
    """Directory for downloaded weights."""


@dataclass(frozen=True)
class Predict:
    """Score images: predictions.csv, predictions.jsonl, and a picture of each."""

    model: Annotated[Path, tyro.conf.Positional]
    """Directory that fit has written."""
    images: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Directories, files, patterns, or - for a list of paths on standard input."""
    out: Path
    """Directory of the results."""
    maps: Literal["overlay", "16bit", "none"] = "overlay"
    """The map over the image; or its values as a 16-bit picture; or none."""
    batch: int = 8
    """Windows a call."""
    resume: bool = False
    """Go on with results that are there."""


@dataclass(frozen=True)
class Info:
    """Tell what a model is."""

    model: Annotated[Path, tyro.conf.Positional]
    """Directory that fit has written."""


@dataclass(frozen=True)
class Export:
    """Write a model as one file for other programs; docs/export.md has what reads it."""

    model: Annotated[Path, tyro.conf.Positional]
    """Directory that fit has written."""
    out: Path
    """A name that ends in .stablehlo, for JAX, or in .onnx."""


def fit(asked: Fit) -> int:
    """Fit a model and write it."""
    from wtflow_jax import backbones, fitting, model
    from wtflow_jax.files import find

    if not 0 < asked.false_alarms < 1:
        raise WTFlowError(f"--false-alarms {asked.false_alarms:g}: give above 0 and below 1")
    model.check_free(asked.out)
    paths = list(find(asked.images))
    config, framing = fitting.settings(
        paths,
        preset=asked.preset,
        velocity=asked.velocity,
        backbone=asked.backbone,
        image_size=asked.image_size,
        overlap=asked.overlap,
        seed=asked.seed,
    )
    backbone = backbones.load(
        config.backbone, layer=config.layer, weights=asked.weights, cache=asked.cache
    )
    with bars() as progress:
        tasks = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total, note="")
            progress.advance(tasks[what], done)

        fitted = fitting.fit(
            paths, backbone, framing, config, rate=asked.false_alarms, advance=advance
        )
    model.save(fitted, asked.out)
    print("\n".join(describe(fitted)))
    print(f"written to {asked.out}; next: wtflow predict {asked.out} IMAGES --out DIR")
    return 0


def describe(fitted: "Model") -> list[str]:
    """Return what a person wants to know of a model, a line each."""
    wanted, n = fitted.training["wanted_rate"], fitted.training["images"]
    height, width = fitted.framing.size
    how = "scaled into" if fitted.framing.overlap is None else "cut into windows of"
    value, rate = fitted.threshold
    lines = [
        f"{n} good images, {how} {height}x{width} pixels; {fitted.backbone.name}, "
        f"{fitted.config.velocity} velocity, {fitted.config.wt}",
        f"defective above a score of {value:.5g}: of good images like these, scored by models "
        f"that had not seen them, {rate:.1%} are expected to be higher",
    ]
    if rate > wanted * 1.0001:
        lines.append(
            f"{wanted:.1%} were asked for, which {n} images cannot promise: the threshold is the "
            f"highest of their scores, and it takes {round(1 / wanted) - 1} images for as few"
        )
    return lines


def predict(asked: Predict) -> int:
    """Score images and write what is found."""
    from wtflow_jax import model, predicting, writing
    from wtflow_jax.files import find

    if asked.batch < 1:
        raise WTFlowError(f"--batch {asked.batch}: give at least 1")
    loaded = model.load(asked.model)
    given = find(asked.images)
    # Before a directory is made: is there anything?
    given = chain(list(islice(given, 1)), given)
    failed = 0
    with writing.Results(asked.out, asked.maps, loaded.colours, asked.resume) as results:
        paths = (path for path in given if path not in results.done)
        scorer = predicting.compile(loaded, asked.batch)
        with bars() as progress:
            task = progress.add_task("images", total=None, note="")
            for found in predicting.predict(loaded, paths, scorer):
                results.add(found, loaded.threshold.value)
                failed += found.error is not None
                progress.advance(task)
        count, defective = results.rows, results.defective
    print(f"{count} images, {defective} defective, {failed} not scored; written to {asked.out}")
    return SOME_FAILED if failed else 0


def info(asked: Info) -> int:
    """Print what a model is."""
    from wtflow_jax import model

    print("\n".join(describe(model.load(asked.model))))
    return 0


def export(asked: Export) -> int:
    """Write a model as one file for other programs."""
    from wtflow_jax import export, model

    export.check_free(asked.out)
    export.export(model.load(asked.model), asked.out)
    print(f"written to {asked.out}")
    return 0


COMMANDS = {Fit: fit, Predict: predict, Info: info, Export: export}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    asked = tyro.cli(
        Annotated[Fit, tyro.conf.subcommand("fit")]
        | Annotated[Predict, tyro.conf.subcommand("predict")]
        | Annotated[Info, tyro.conf.subcommand("info")]
        | Annotated[Export, tyro.conf.subcommand("export")],  # pyright: ignore[reportArgumentType]
        prog="wtflow",
        description=__doc__,
        args=arguments,
    )
    try:
        return COMMANDS[type(asked)](asked)
    except WTFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
