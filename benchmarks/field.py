"""Does ``wtflow fit`` keep its false-alarm rate on realistic images?

    python benchmarks/field.py --root mvtec_ad --categories bottle screw
    python benchmarks/field.py --root mvtec_ad --categories bottle --cases '5 % defective'

A case makes good images to fit from a category, and lists the settings of ``wtflow.fit`` to compare
(column ``fitted``). Each model is tested on unused good images of the training and test sets, and
on defective images. Columns: ``n``, the number of scores that set the threshold; ``promised``, the
false-alarm rate that the model states; ``good above`` and ``defective found``, the good and
defective images that it calls defective; ``AUROC`` of the images in %; ``warned``, how often it
warned of a change, on good and on defective images. To add a case, add a function to ``CASES``.
"""

import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tyro
from PIL import Image, ImageEnhance, ImageFilter
from rich.table import Table

import peers
import wtflow_jax as wtflow
from wtflow_jax.data import File, Sample, find, open_category, open_image
from wtflow_jax.metrics import auroc
from wtflow_jax.support.console import bars

HEADINGS = "", "fitted", "n", "promised", "good above", "defective found", "AUROC", "warned"

Images: TypeAlias = Sequence[File | bytes | Image.Image]
Change: TypeAlias = Callable[[Image.Image], bytes | Image.Image] | None


class Known(NamedTuple):
    """Images of a category in random order."""

    good: list[File]  #: training images
    test_good: list[File]
    test_bad: list[File]
    rng: np.random.Generator


class Trial(NamedTuple):
    """The images of a model's fit and test."""

    good: Images  #: to fit on, including defective images taken for good
    test_good: Images
    test_bad: Images
    ways: dict[str, dict[str, Any]]  #: name to keyword arguments of ``wtflow.fit``


Case: TypeAlias = Callable[[Known, int], Trial]


@dataclass(frozen=True)
class Settings:
    """What to test."""

    root: Path
    """Directory of a data set."""
    categories: tuple[str, ...]
    """Categories of the data set."""
    cases: tuple[str, ...] = ()
    """Cases to run; left out: all."""
    data: str = "mvtec_ad"
    """The data set's layout."""
    images: int = 100
    """Largest number of good images to fit on."""
    probes: int = 60
    """Largest number of test images per kind."""
    repeats: int = 1
    """Random draws of a case; counts are summed."""
    backbone: str = "efficientnet_lite0"
    """Frozen feature extractor."""
    weights: str | None = None
    """The backbone's file."""
    json: Path | None = None
    """File for the figures."""


def shot(file: File, rng: np.random.Generator) -> bytes:
    """Return a simulated second photograph of a part, as a JPEG.

    It is shifted by one to three pixels in each direction, up to 5 % brighter or darker, and has
    noise of one to three grey levels.
    """
    image = open_image(file)
    down, right = rng.choice([-3, -2, -1, 1, 2, 3], 2)
    pixels = np.pad(np.asarray(image, float), ((3, 3), (3, 3), (0, 0)), mode="edge")
    pixels = pixels[3 + down :, 3 + right :][: image.height, : image.width]
    pixels = pixels * rng.uniform(0.95, 1.05) + rng.normal(0, rng.uniform(1, 3), pixels.shape)
    return encoded(pixels, int(rng.integers(70, 96)))


def encoded(pixels: np.ndarray, quality: int) -> bytes:
    """Return pixels, clipped to 0 to 255, as a JPEG."""
    file = io.BytesIO()
    image = Image.fromarray(np.clip(pixels.round(), 0, 255).astype(np.uint8))
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def shots(known: Known, images: int, parts: int, each: int) -> Trial:
    """Fit on several photographs of each part; test on one photograph of each other part."""
    label = np.repeat(np.arange(parts), each)
    good, rest = known.good[:parts], known.good[parts:]
    one = partial(shot, rng=known.rng)
    ways = {"--group none": {"group": "none"}, "as it is": {}, "by labels": {"group": label}}
    given = [one(good[i]) for i in label]
    others = [*known.test_good, *rest]
    return Trial(given, [*map(one, others)], [*map(one, known.test_bad)], ways)


def contaminated(known: Known, images: int, share: float, asked: float) -> Trial:
    """Replace a share of the good images by defective ones."""
    count = round(share * images)
    good, rest = known.good[: images - count], known.good[images - count :]
    given = [*good, *known.test_bad[:count]]
    ways = {"as it is": {}, f"--contamination {asked}": {"contamination": asked}}
    return Trial(given, [*known.test_good, *rest], known.test_bad[count:], ways)


def changed(known: Known, images: int, *, before: Change = None, after: Change = None) -> Trial:
    """Change all images in the same way: ``before`` for fitted, ``after`` for tested ones."""

    def each(files: Sequence[File], change: Change) -> Images:
        return [change(open_image(file)) for file in files] if change else files

    good, rest = known.good[:images], known.good[images:]
    others = each([*known.test_good, *rest], after)
    return Trial(each(good, before), others, each(known.test_bad, after), {"as it is": {}})


def of_bits(image: Image.Image, bits: int) -> bytes:
    """Return an image as from a grey camera of ``bits`` bits, in a 16-bit PNG."""
    values = np.asarray(image.convert("L"), float) * ((2**bits - 1) / 255)
    file = io.BytesIO()
    Image.fromarray(values.round().astype(np.uint16)).save(file, "PNG")
    return file.getvalue()


def times(image: Image.Image, factor: float) -> Image.Image:
    """Return an image with its brightness multiplied by a factor."""
    return image.point([min(255, round(factor * value)) for value in range(256)] * 3)


def swapped(image: Image.Image) -> Image.Image:
    """Return an image with red and blue exchanged."""
    red, green, blue = image.split()
    return Image.merge("RGB", (blue, green, red))


def curved(image: Image.Image, gamma: float) -> Image.Image:
    """Return an image as from a camera of another gamma."""
    return image.point([round(255 * (value / 255) ** gamma) for value in range(256)] * 3)


def noisy(image: Image.Image, sigma: float) -> Image.Image:
    """Return an image with noise of ``sigma`` levels, the same for each image."""
    pixels = np.asarray(image.convert("RGB"), float)
    pixels = pixels + np.random.default_rng(0).normal(0, sigma, pixels.shape)
    return Image.fromarray(np.clip(pixels.round(), 0, 255).astype(np.uint8))


def closer(image: Image.Image, share: float) -> Image.Image:
    """Return the middle of an image, enlarged to its full size."""
    width, height = image.size
    x, y = share / 2 * width, share / 2 * height
    return image.resize(image.size, Image.Resampling.BICUBIC, (x, y, width - x, height - y))


CHANGES: dict[str, Change] = {
    "as they are": None,
    "10 % darker": partial(times, factor=0.9),
    "20 % darker": partial(times, factor=0.8),
    "20 % brighter": partial(times, factor=1.2),
    "gamma 0.7": partial(curved, gamma=0.7),
    "contrast × 0.8": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "grey": lambda image: image.convert("L"),
    "red and blue exchanged": swapped,
    "half the size": lambda image: image.reduce(2),
    "twice the size": lambda image: image.resize((2 * image.width, 2 * image.height)),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "JPEG of quality 10": lambda image: encoded(np.asarray(image, float), 10),
    "JPEG of quality 50": lambda image: encoded(np.asarray(image, float), 50),
    "noise of 10 levels": partial(noisy, sigma=10),
    "10 % closer": partial(closer, share=0.1),
    "turned by 90°": lambda image: image.transpose(Image.Transpose.ROTATE_90),
}
"""Changes of camera and light, for tested images only."""


def alike(bits: int) -> Case:
    """Return the case of one camera of ``bits`` bits, for all images."""
    change = partial(of_bits, bits=bits)
    return partial(changed, before=change, after=change)


CASES: dict[str, Case] = {
    "10 parts, 6 shots of each": partial(shots, parts=10, each=6),
    "20 parts, 2 shots of each": partial(shots, parts=20, each=2),
    "all good": partial(contaminated, share=0, asked=0.1),
    "5 % defective": partial(contaminated, share=0.05, asked=0.1),
    "10 % defective": partial(contaminated, share=0.1, asked=0.1),
    **{f"{bits} bits": alike(bits) for bits in (8, 10, 12, 16)},
    **{name: partial(changed, after=change) for name, change in CHANGES.items()},
}


def drawn(settings: Settings, category: str, repeat: int) -> Known:
    """Return a category's images in the random order of a repeat."""
    rng = np.random.default_rng(repeat)
    found = open_category(settings.root, category, settings.data)

    def some(samples: Iterable[Sample], label: int, most: int) -> list[File]:
        files = [sample.path for sample in samples if sample.label == label]
        return [files[i] for i in rng.permutation(len(files))[:most]]

    good = some(found.train, 0, settings.images + settings.probes)
    bad = some(found.test, 1, settings.probes)
    return Known(good, some(found.test, 0, settings.probes), bad, rng)


def fitted(trial: Trial, settings: Settings, given: dict[str, Any]) -> wtflow.Model:
    """Return a model; reuse the last one if files and settings are the same."""
    key = None
    if all(isinstance(image, Path) for image in trial.good):
        key = repr((trial.good, given))
    if key not in MODELS:
        asked = {"backbone": settings.backbone, "weights": settings.weights, **given}
        MODELS.clear()
        MODELS[key] = wtflow.fit(trial.good, **asked)
    return MODELS[key] if key else MODELS.pop(None)


MODELS: dict[str | None, wtflow.Model] = {}
"""The last model."""


def measured(trial: Trial, settings: Settings) -> dict[str, dict[str, float]]:
    """Return the figures of each setting of the fit."""
    figures = {}
    for way, given in trial.ways.items():
        model = fitted(trial, settings, given)
        row = {"promised": model.threshold.rate, "held out": len(model.training["held_out"])}
        tested: dict[str, np.ndarray] = {}
        for name, images in (("above", trial.test_good), ("found", trial.test_bad)):
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                results = list(model.results(find([*images])))
            if errors := [result.error for result in results if result.error]:
                raise SystemExit(errors[0])
            tested[name] = np.array([result.score for result in results])
            row[f"{name}: warned"] = len(warned)
            row[name] = int((tested[name] > model.threshold.value).sum())
            row[f"of {name}"] = len(images)
        labels = np.repeat([False, True], [*map(len, tested.values())])
        row["auroc"] = 100 * (auroc(np.concatenate([*tested.values()]), labels) or 0)
        figures[way] = row
    return figures


def main(settings: Settings) -> None:
    """Run the cases and print a table."""
    if unknown := set(settings.cases) - CASES.keys():
        raise SystemExit(f"--cases {min(unknown)}: give some of {', '.join(CASES)}")
    table = Table(title=f"{settings.backbone}, {settings.repeats} draws")
    for heading in HEADINGS:
        table.add_column(heading, overflow="fold")
    data: dict[str, Any] = {}
    with bars() as track:
        for category in settings.categories:
            for case in settings.cases or CASES:
                advance, found = track(f"{category}, {case}", settings.repeats), []
                for repeat in range(settings.repeats):
                    trial = CASES[case](drawn(settings, category, repeat), settings.images)
                    found.append(measured(trial, settings))
                    advance()
                data[f"{category}, {case}"] = found
                for way in found[0]:
                    total = {k: sum(one[way][k] for one in found) for k in found[0][way]}
                    mean = {k: v / settings.repeats for k, v in total.items()}
                    above, good = total["above"], total["of above"]
                    table.add_row(
                        f"{category}, {case}",
                        way,
                        f"{mean['held out']:.0f}",
                        f"{mean['promised']:.1%}",
                        f"{above:.0f} of {good:.0f}, {above / good:.1%}",
                        f"{total['found']:.0f} of {total['of found']:.0f}",
                        f"{mean['auroc']:.1f}",
                        f"{total['above: warned']:.0f}, {total['found: warned']:.0f}",
                    )
    peers.show(table, data, settings.json)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
