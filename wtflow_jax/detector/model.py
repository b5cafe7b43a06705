"""A fitted model: all that scores an image, and its one file.

Loading executes nothing from the file. The file is complete: the backbone's weights are among its
tensors.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Float, UInt8

from wtflow_jax import backbones
from wtflow_jax.backbones import Backbone
from wtflow_jax.data import framing, sources
from wtflow_jax.data.depth import White
from wtflow_jax.data.framing import Framed, Framing
from wtflow_jax.data.look import Look
from wtflow_jax.data.sample import File
from wtflow_jax.detector import drift, route
from wtflow_jax.detector.config import Config, configure
from wtflow_jax.detector.detector import Detector
from wtflow_jax.metrics import threshold as metrics_threshold
from wtflow_jax.metrics.threshold import Threshold
from wtflow_jax.support import tensors
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.files import written

FORMAT = 8
"""Increased whenever older models cannot be read, or would give other scores."""
FILE = "model.safetensors"


class Result(NamedTuple):
    """The result of an image: an error, or all attributes below it.

    Attributes:
        path: the path as given; for an image in memory its number.
        error: why the image could not be scored.
        score: score of the image, higher is more anomalous.
        defective: whether the score is above the model's threshold.
        map: anomaly map, float32 (h, w).
        pixels: the image at the map's size, uint8 RGB (h, w, 3).
        look: measures of camera and light, see ``drift``.
    """

    path: File
    error: str | None = None
    score: float | None = None
    defective: bool | None = None
    map: Float[np.ndarray, "h w"] | None = None
    pixels: UInt8[np.ndarray, "h w 3"] | None = None
    look: Look | None = None


@dataclass(frozen=True)
class Model:
    """All that scores an image.

    Attributes:
        framing: how images of any size become windows.
        backbone: the loaded backbone.
        detector: the detector fitted on the backbone's features.
        threshold: score above which an image is called defective.
        colours: scores of a pixel at the two ends of the colour scale of all pictures.
        training: record of the fit: number of images, their digests, fingerprint and groups,
            held-out scores, scores of images left out, and usual looks.
        versions: versions of the packages that fitted it.
    """

    framing: Framing
    backbone: Backbone
    detector: Detector
    threshold: Threshold
    colours: tuple[float, float]
    training: Mapping[str, Any]
    versions: Mapping[str, str]
    _scorers: dict[int, route.Scorer] = field(default_factory=dict, init=False, repr=False)
    _calls: drift.Watch = field(
        default_factory=lambda: drift.Watch(drift.OFTEN), init=False, repr=False, compare=False
    )

    @property
    def config(self) -> Config:
        """The detector's config."""
        return self.detector.config

    @property
    def counted(self) -> str:
        """Unit of the threshold's rate: ``images``, or ``parts`` if a part has several images."""
        images = len(set(self.training["seen"]))
        return "parts" if len(self.training["held_out"]) < images else "images"

    def at(self, threshold: float | None = None, false_alarms: float | None = None) -> "Model":
        """Return this model with another threshold, and the colours that follow from it.

        Args:
            threshold: the new threshold; or
            false_alarms: the share of good images that may be above it, in (0, 1), by the held-out
                scores that ``fit`` has stored.

        Raises:
            WTFlowError: both are given or neither, or one is out of its range.
        """
        if (threshold is None) == (false_alarms is None):
            raise WTFlowError("give --threshold or --false-alarms, one of them")
        held_out = np.array(self.training["held_out"])
        if false_alarms is not None:
            if not 0 < false_alarms < 1:
                raise WTFlowError(f"--false-alarms {false_alarms}: give above 0 and below 1")
            found = metrics_threshold.threshold(held_out, false_alarms)
        else:
            assert threshold is not None
            if not np.isfinite(threshold):
                raise WTFlowError(f"--threshold {threshold}: give a finite number")
            found = Threshold(threshold, metrics_threshold.rate_of(held_out, threshold))
        low = min(self.colours[0], found.value - 1e-6)
        return replace(self, threshold=found, colours=(low, 2 * found.value - low))

    def scorer(self, batch: int) -> route.Scorer:
        """Return the route for batches of the model's windows; compiled once per batch size."""
        if batch not in self._scorers:
            size = self.framing.size
            self._scorers[batch] = route.scorer(self.backbone, self.detector, size, batch)
        return self._scorers[batch]

    def predict(
        self, source: Any, *, bgr: bool = False
    ) -> "Result | list[Result] | Iterator[Result]":
        """Score images.

        Args:
            source: one image: a path, its encoded bytes or a file of them, a PIL image, or an
                array (H, W, 3) or (H, W). Or several: a directory, a pattern, an array
                (N, H, W, 3), a list, or any iterable of images. See ``data.find``.
            bgr: whether colours of arrays are blue, green, red, as in OpenCV.

        Returns:
            A ``Result`` for one image; a list for several, in their order; an iterator for an
            iterator, with a few images in memory at a time.

        It warns as ``score`` does; single images of separate calls are judged together, too.

        Raises:
            WTFlowError: an image cannot be scored; the message names it.
        """

        single = sources.is_one(source)

        def sure() -> Iterator[Result]:
            for result in self.results(sources.find(source, bgr=bgr), 1 if single else route.BATCH):
                if result.error is not None:
                    raise WTFlowError(result.error)
                yield result

        if single:
            (found,) = sure()
            self._calls.see(found, self.training["usual"])
            return found
        return sure() if isinstance(source, Iterator) else list(sure())

    def results(self, files: Iterable[File | str], batch: int = route.BATCH) -> Iterator[Result]:
        """Score image files, ``batch`` windows per call; ``error`` says why a file has no score.

        ``files`` is read as far ahead as images are decoded.
        """
        if isinstance(files, str):
            raise WTFlowError(f"{files}: give a list of files; predict takes a path")
        paths = (Path(file) if isinstance(file, str) else file for file in files)
        return self.score(framing.framed(paths, self.framing), batch)

    def score(
        self, images: Iterable[tuple[File, Framed | WTFlowError]], batch: int = route.BATCH
    ) -> Iterator[Result]:
        """Score the images of ``framing.framed``; an image's highest window score counts.

        It gives one ``WTFlowWarning``, after some images or at the end, if they look unlike those
        that the model was fitted on (``drift``).
        """
        return drift.watched(self._in_batches(images, batch), self.training["usual"])

    def _in_batches(
        self, images: Iterable[tuple[File, Framed | WTFlowError]], batch: int
    ) -> Iterator[Result]:
        waiting: list[tuple[File, Framed | WTFlowError]] = []
        for path, found in images:
            waiting.append((path, found))
            if sum(len(one.windows) for _, one in waiting if isinstance(one, Framed)) >= batch:
                yield from self._scored(waiting, batch)
                waiting = []
        yield from self._scored(waiting, batch)

    def _scored(
        self, waiting: list[tuple[File, Framed | WTFlowError]], batch: int
    ) -> Iterator[Result]:
        windows = [found.windows for _, found in waiting if isinstance(found, Framed)]
        found = self.scorer(batch)(np.concatenate(windows)) if windows else None
        first = 0
        for path, image in waiting:
            if isinstance(image, WTFlowError):
                yield Result(path, str(image))
                continue
            assert found is not None
            own = slice(first, first := first + len(image.windows))
            scores, maps = found.scores[own], found.maps[own]
            if not (np.isfinite(scores).all() and np.isfinite(maps).all()):
                # NaN > threshold is false: the image would be called good.
                yield Result(path, f"{path}: its scores are NaN or infinite; fit the model again")
                continue
            score = float(scores.max())
            yield Result(
                path,
                score=score,
                defective=score > self.threshold.value,
                map=framing.join(image, maps, self.framing),
                pixels=framing.whole(image, self.framing),
                look=image.look,
            )

    def save(self, directory: str | Path) -> None:
        """Write the model's file into a directory, atomically; an older model is replaced.

        Raises:
            WTFlowError: the directory holds other files, or is a file.
        """
        check_free(Path(directory))
        about = {
            "format": FORMAT,
            "config": self.config.flags(),
            "framing": self.framing._asdict(),
            "backbone": {k: getattr(self.backbone, k) for k in ("name", "layers", "digest")},
            "threshold": self.threshold._asdict(),
            "colours": self.colours,
            "training": dict(self.training),
            "versions": dict(self.versions),
        }
        fitted = {"params": self.detector.params, "stats": self.detector.stats}
        arrays = flatten({"backbone": self.backbone.params, **fitted})
        tensors.save(Path(directory) / FILE, arrays, about)


def flatten(tree: Any) -> dict[str, np.ndarray]:
    """Return the arrays of nested dicts, lists and named tuples by their paths, ``a/0/b``."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def nested(arrays: Mapping[str, Any]) -> Any:
    """Return nested dicts and lists of arrays by their paths; named tuples become dicts."""

    def lists(tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        built = {name: lists(below) for name, below in tree.items()}
        is_list = built and all(name.isdecimal() for name in built)
        return [built[str(i)] for i in range(len(built))] if is_list else built

    # A single array has the empty path.
    return lists(traverse_util.unflatten_dict(arrays, sep="/") if "" not in arrays else arrays[""])


def check_free(directory: Path) -> bool:
    """Return whether a directory has a model, to be replaced; WTFlowError for other files."""
    if directory.exists() and not directory.is_dir():
        raise WTFlowError(f"{directory}: is a file; give a directory")
    # Without partial files of killed processes.
    names = {path.name for path in written(directory)}
    # Names with a leading dot belong to the file system.
    if any(name != FILE and not name.startswith(".") for name in names):
        raise WTFlowError(f"{directory}: holds other files; give another directory")
    return FILE in names


def load(directory: str | Path) -> Model:
    """Read a model: its file, or the directory that ``Model.save`` or ``wtflow fit`` wrote.

    Raises:
        WTFlowError: it is not a model, is corrupt, or has another version of the format.
    """
    path = Path(directory)
    path = path if path.name == FILE else path / FILE
    if not path.is_file():
        raise WTFlowError(f"{directory}: is not a model, {FILE} is missing; see wtflow fit")
    try:
        arrays, about = tensors.load(path)
        if about["format"] != FORMAT:
            raise ValueError(f"has format {about['format']}, expected {FORMAT}")
        tree, shown = jax.tree.map(jnp.asarray, nested(arrays)), about["framing"]
        config, named = configure(**about["config"]), about["backbone"]
        config.check()
        name, digest, options = named["name"], named["digest"], dict(config.backbone_options)
        layers = backbones.parse_layers(name, named["layers"])
        return Model(
            framing=Framing(
                # An older model without ``pose`` does not turn images.
                **shown | {"size": tuple(shown["size"]), "white": White(*shown["white"])}
            ),
            backbone=backbones.assemble(name, layers, tree["backbone"], digest, options),
            detector=Detector(
                config, tree.get("params", ()), config.wt.restore(tree.get("stats", {}))
            ),
            threshold=Threshold(**about["threshold"]),
            colours=tuple(about["colours"]),
            training=about["training"],
            versions=about["versions"],
        )
    except (ValueError, LookupError, TypeError, WTFlowError) as error:
        raise WTFlowError(f"{path}: cannot be read ({error}); fit the model again") from error
