"""wtflow: find defects in your own images, with good images to learn from.

    wtflow fit photos/good --out model
    wtflow predict model photos/new --out found
    wtflow evaluate model labelled --out measured
    wtflow report measured
    wtflow export model --out model.onnx

Exit status:

    0 if all went well
    1 for bad input (one line says what)
    2 for flags that do not exist
    3 if some images could not be scored (their rows say why)
    130 when interrupted, 143 when terminated
"""

# Slow imports happen when a command runs, so that --help is quick.

import math
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro
from tyro.conf import Positional

import wtflow_jax as wtflow
from wtflow_jax.support.console import bars, say, show, status
from wtflow_jax.support.errors import WTFlowError, shown
from wtflow_jax.support.files import alone, check_empty
from wtflow_jax.support.helptext import arg, flowing
from wtflow_jax.support.parts import check_ranges

SOME_FAILED = 3
"""Exit status if some images could not be scored."""
WORST = 5
"""Images that ``predict`` lists by name."""

Fitted = Annotated[Path, Positional, arg(help="Directory that fit has written.", metavar="MODEL")]
Images = Annotated[tuple[str, ...], Positional, arg(metavar="IMAGES [IMAGES ...]")]
Directory = Annotated[Path, arg(metavar="DIR")]
Number = Annotated[float | None, arg(metavar="NUMBER")]


# Quoted annotations below: only fit reads the tables of parts.
def _choice(flag: str) -> Any:
    from wtflow_jax.detector.config import TABLES, choice

    return choice(next(parts for parts in TABLES if parts.flag == flag))


@dataclass(frozen=True)
class Fit:
    """Fit a model and its threshold to good images."""

    images: Images
    """Good images: directories (searched recursively), files, patterns, or - for a list of paths on
    standard input."""
    out: Directory
    """Directory of the model."""
    false_alarms: float = 0.01
    """Share of good images that may be called defective."""
    group: str = "alike"
    """Which images show one part, and are held out together: alike (much more similar to each other
    than to all others), folder (one part per directory), none (one part per image), or a regular
    expression for paths, 'part([0-9]+)', whose first group or whole match names the part."""
    contamination: float = 0.0
    """Share of the images that may be defective: this share, of highest scores, is left out."""
    preset: Literal["auto", "fine", "small"] = "auto"
    """auto trains nothing and chooses its settings by the good images; fine is auto with more
    pixels and cells; small trains a network."""
    velocity: "Annotated[str | None, _choice('velocity')]" = None
    """Velocity field; left out: the preset's."""
    backbone: "Annotated[str, _choice('backbone')]" = "efficientnet_lite0"
    """Frozen feature extractor."""
    weights: Annotated[str | None, arg(metavar="FILE")] = None
    """The backbone's .safetensors or .pth file; left out: the installed package (Lite0) or a
    download."""
    image_size: Annotated[str | None, arg(metavar="SIZE")] = None
    """HxW that images are scaled into, or a side S: about S x S pixels in the images' aspect.
    Multiples of 32 (dinov2 14, dinov3 16); left out: the preset's."""
    overlap: Annotated[int | None, arg(metavar="PIXELS")] = None
    """Cut images at their own scale into windows of --image-size with this overlap; left out:
    images are scaled into one window."""
    pose: Literal["auto", "off"] = "auto"
    """auto turns images by the principal axis of the object, if the good images show long objects
    at all angles on a plain background; not with --overlap."""
    jitter: Annotated[float | None, arg(metavar="SHARE")] = None
    """Brighten and darken 64 of the images for the model by up to this share, so that light is not
    taken for a defect; 0 if defects are faint changes of brightness; left out: the preset's."""
    seed: int = 0
    """Random seed of the held-out folds and of all other random choices."""
    cache: Annotated[Path | None, arg(metavar="DIR")] = None
    """Directory for downloaded weights; left out: the user's cache."""

    def _work(self) -> int:
        from wtflow_jax.app.notes import notes
        from wtflow_jax.data import find_good
        from wtflow_jax.detector import model
        from wtflow_jax.training.schedule import Diverged

        replaced = model.check_free(self.out)
        paths = find_good(self.images, stdin=True)
        asked = {name: value for name, value in vars(self).items() if value is not None}
        del asked["images"], asked["out"]
        with bars() as track:
            try:
                fitted = wtflow.fit(paths, track=track, **asked)
            except Diverged as error:
                raise WTFlowError(
                    f"{error}; give --velocity exact, which trains nothing, or another --seed"
                ) from error
        fitted.save(self.out)
        say(*describe(fitted), *notes(fitted, paths, self.group))
        out = shown(self.out)
        instead = ", in place of the model that was there" if replaced else ""
        say(f"written to {out}{instead}; next: wtflow predict {out} IMAGES --out DIR")
        return 0


@dataclass(frozen=True)
class Predict:
    """Score images: predictions.csv, predictions.jsonl, and a picture of each."""

    model: Fitted
    images: Images
    """Directories, files, patterns, or - for a list of paths on standard input."""
    out: Directory
    """Directory of the results."""
    threshold: Number = None
    """Score above which an image is defective; left out: the model's."""
    false_alarms: Number = None
    """Set the threshold by the share of good images that may be above it; the model file stays."""
    maps: Literal["overlay", "16bit", "none"] = "overlay"
    """Pictures: the map over the image, its values in 16 bits, or no pictures."""
    resume: bool = False
    """Add the missing results to --out."""

    def _work(self) -> int:
        from wtflow_jax.app import writing
        from wtflow_jax.data import find
        from wtflow_jax.data.sources import STDIN

        writing.check_free(self.out, self.resume)
        loaded = _moved(wtflow.load(self.model), self)
        given, count = find(self.images, stdin=True), None
        if STDIN in self.images:
            # Empty standard input is an error before a directory is made.
            given, base = chain(list(islice(given, 1)), given), None
        else:
            given, base = list(given), writing.common(self.images)
            count = len(given)
        shades = loaded.colours, loaded.threshold.value
        where = {"resume": self.resume, "base": base, "white": loaded.framing.white}
        results = writing.Results(self.out, self.maps, *shades, **where)
        # The given directories may contain maps that this command has written.
        paths = (path for path in map(Path, map(str, given)) if not results.has(path))
        with bars() as track:
            advance = track("images", count)
            if count:
                advance(sum(results.decisions.values()))
            worst: list[tuple[float, str]] = []
            errors: list[str] = []
            for result in results.write(loaded.results(paths)):
                advance()
                if result.error is not None:
                    errors.append(result.error)
                if result.score is not None:
                    name = shown(_without(base, Path(str(result.path))))
                    worst = sorted([*worst, (result.score, name)], reverse=True)[:WORST]
        rows, failed = results.decisions.total(), results.decisions[None]
        found = f"{rows} {'image' if rows == 1 else 'images'}, "
        found += f"{results.decisions[writing.DEFECTIVE]} defective, {failed} not scored"
        if failed:
            found += " (predictions.csv says why; predict them into another --out)"
        for error in errors[:WORST]:
            say(f"not scored: {shown(error)}")
        if len(errors) > WORST:
            print(f"not scored: {len(errors) - WORST} more")
        if worst:
            named = ", ".join(f"{name} ({score:.4g})" for score, name in worst)
            say(f"highest scores, above {loaded.threshold.value:.4g} is defective: {named}")
        out = shown(self.out)
        after = f"; next: wtflow report {out}" if failed < rows else ""
        say(f"{found}; written to {out}{after}")
        return SOME_FAILED if failed else 0


def _moved(loaded: "wtflow.Model", asked: "Predict | Evaluate") -> "wtflow.Model":
    if asked.threshold is None and asked.false_alarms is None:
        return loaded
    return loaded.at(asked.threshold, asked.false_alarms)


def _without(base: Path | None, path: Path) -> Path:
    inside = base is not None and path != base and path.is_relative_to(base)
    return path.relative_to(base) if base is not None and inside else path


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a model on labelled images: results.json, and a table."""

    model: Fitted
    root: Annotated[Path, Positional, arg(metavar="DIR")]
    """Directory with good/, a directory for each kind of defect and, for masks, masks/KIND/; or a
    data set as published."""
    out: Directory
    """Directory of the results."""
    data: str = "folder"
    """Layout of DIR (python -m wtflow_jax.datasets check --help lists them)."""
    category: Annotated[str | None, arg(metavar="NAME")] = None
    """Category of the data set; needed if there are several."""
    threshold: Number = None
    """Score above which an image is defective; left out: the model's."""
    false_alarms: Number = None
    """Set the threshold by the share of good images that may be above it; the model file stays."""

    def _work(self) -> int:
        from rich.console import Console

        from wtflow_jax.app import evaluate
        from wtflow_jax.lab import scored

        fitted = wtflow.load(self.model)
        loaded = _moved(fitted, self)
        name, samples = evaluate.labelled(self.root, self.category, self.data)
        # Scores without results: the run was killed, or its disk was full.
        check_empty(self.out, self.out / name / scored.FILE)
        with bars() as track:
            found = evaluate.score(loaded, samples, track)
        row, tables = evaluate.write(
            self.out, loaded, fitted.threshold.value, self.root, name, found
        )
        for table in tables:
            show(table, Console())
        if left_out := len(samples) - len(found.paths):
            print(f"left out, as the model was fitted on them: {left_out}")
        for reason in row["undefined"]:
            say(shown(reason))
        out = shown(self.out)
        say(f"written to {out}; next: wtflow report {out}")
        return 0


@dataclass(frozen=True)
class Report:
    """Write report.html, a page of a run: decisions, curves, metrics, pictures."""

    run: Annotated[Path, Positional, arg(metavar="DIR")]
    """Directory that evaluate, predict or an experiment has written."""
    pictures: int = 200
    """Images shown with pictures, evenly spread over their scores; at least one for each row."""

    RANGES: ClassVar = {"pictures": (1, None)}

    def _work(self) -> int:
        from wtflow_jax.app.report import page

        with bars() as track:
            written = page.write(self.run, self.pictures, track)
        print(f"written to {shown(written)}")
        return 0


@dataclass(frozen=True)
class Export:
    """Export a model as one file for other programs; docs/export.md shows how to read it."""

    model: Fitted
    out: Annotated[Path, arg(metavar="FILE")]
    """A name that ends in .stablehlo (for JAX) or in .onnx."""

    def _work(self) -> int:
        from wtflow_jax.app import export

        export.check_free(self.out)
        export.export(wtflow.load(self.model), self.out)
        print(f"written to {shown(self.out)}")
        return 0


@dataclass(frozen=True)
class Info:
    """Show a model's settings."""

    model: Fitted

    def _work(self) -> int:
        say(*describe(wtflow.load(self.model)))
        return 0


def describe(fitted: "wtflow.Model") -> list[str]:
    """Return the settings of a model, a line each."""
    from wtflow_jax.metrics.threshold import highest_rate

    training, wanted = fitted.training, fitted.config.decision.false_alarms
    n, images = len(training["held_out"]), len(set(training["seen"]))
    copies, left_out = training["images"] - images, len(training.get("left_out", ()))
    what = fitted.counted
    height, width = fitted.framing.size
    how = "scaled into" if fitted.framing.overlap is None else "cut into windows of"
    flow, (value, rate) = fitted.config.flow, fitted.threshold
    lines = [
        f"{images} good images{f' and {copies} copies' if copies else ''}"
        f"{f' of {n} parts' if what == 'parts' else ''}, {how} {height}x{width} "
        f"pixels; {fitted.backbone.name}, {flow.wt}, velocity {flow.velocity}",
        f"defective above a score of {value:.5g}: expected false alarms are {rate:.1%} of good "
        f"{what} like these, by held-out scores",
    ]
    if choice := fitted.config.wt.choice(fitted.detector.stats):
        lines.append(f"statistics, by the likelihood of held-out good images: {choice}")
    if any(fitted.framing.white):
        lines.append(str(fitted.framing.white))
    if fitted.framing.pose is not None:
        lines.append(f"images are turned by their principal axis: {fitted.training['pose']}")
    if left_out:
        lines.append(
            f"{left_out} of {n + left_out} {what} were left out as the strangest: if they are "
            f"good, expected false alarms are {highest_rate(fitted.threshold, n, left_out):.1%}"
        )
    if rate > wanted * 1.0001:
        enough = math.ceil(1 / wanted - 1e-9) - 1
        lines.append(
            f"{n} {what} cannot certify {wanted:.1%}: the threshold is their highest held-out "
            f"score; {wanted:.1%} takes {enough} {what}"
        )
    return lines


COMMANDS = (Fit, Predict, Evaluate, Report, Export, Info)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    again = "--resume goes on where it stopped" if "predict" in given[:1] else ""
    advice = "check its permissions and the space there, or give another --out"
    # ``status`` also covers --help, whose output may go to a closed pipe.
    return status(lambda: _execute(_parse(given)), again=again, advice=advice)


def _parse(arguments: Sequence[str]) -> Any:
    named = {command.__name__.lower(): command for command in COMMANDS}
    flowing(COMMANDS, arguments)
    about = {"prog": "wtflow", "description": __doc__}
    return tyro.extras.subcommand_cli_from_dict(named, args=arguments, **about)


def _execute(asked: Any) -> int:
    from wtflow_jax.support import compilation, environment

    check_ranges(asked)
    if not getattr(asked, "images", True):
        raise WTFlowError("no images: give directories, files, patterns, or -")
    # The next command reuses the compiled programs, if the cache is writable.
    with suppress(OSError):
        compilation.keep(environment.CACHE / "compiled")
    # Lock the directory that the command writes.
    with alone(asked.out) if isinstance(asked, Fit | Predict | Evaluate) else nullcontext():
        return asked._work()
