"""TensorFlow Datasets builders, one for each layout; importing this file registers them.

``tfds.builder("mvtec_ad/bottle", data_dir=...)`` knows them from then on. Only ``tfds.py`` imports
this file, so that the other parts run without tensorflow-datasets. TensorFlow is never needed,
provided that the file format is ``array_record``.
"""

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from absl import logging

from wtflow_jax.data.layouts import LAYOUTS
from wtflow_jax.data.sample import Category, File, Sample
from wtflow_jax.support import untrusted

VERSION = "1.0.0"
"""Directory of a prepared category: raise it when the same files would be stored otherwise."""
SHARD = 256 << 20
"""Bytes of images from which on another file is begun."""

OWN = "tensorflow_datasets.core.features."
"""Module of TFDS's classes."""

Entry = dict[str, Any]
Example = dict[str, Any]


class _Info(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """Nothing: these data sets are in no bucket, and TFDS would leave an empty directory."""


# Shard by shard: the other builders hold up to 1 GB in memory, and need TensorFlow beyond that.
class LayoutBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Stores the files of one category as they are, in the order of its reader.

    The original data are in the manual directory; configs are categories. ``info.metadata``
    describes a category without its pixels: see ``metadata``.

    Attributes:
        layout: the key of ``LAYOUTS``.
        advance: called with the number of images stored, and of how many.
    """

    VERSION = tfds.core.Version(VERSION)
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    layout: ClassVar[str]
    advance: Callable[[int, int], None] = staticmethod(lambda done, total: None)

    def _info(self) -> tfds.core.DatasetInfo:
        layout = LAYOUTS[self.layout]
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), doc="The file as published."),
            "masks": tfds.features.Sequence(
                tfds.features.Image(shape=(None, None, 1)),
                doc="The files, as published, whose union marks the defect.",
            ),
            "label": tfds.features.ClassLabel(names=["good", "defective"]),
            "kind": tfds.features.Text(doc="good, or the name of the defect."),
            "path": tfds.features.Text(doc="Of the image, from the data set's root on."),
        }
        return _Info(
            builder=self,
            description=f"{layout.title} ({layout.source}), read by wtflow_jax.",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _shard_iterators_per_split(self, dl_manager: Any) -> Mapping[str, Sequence[Any]]:
        root = Path(os.fspath(dl_manager.manual_dir))
        layout = LAYOUTS[self.layout]
        config = self.builder_config
        category = layout.open_category(root, config.name if config else layout.categories(root)[0])
        described: Any = self.info.metadata
        described.update(metadata(category, root))
        numbered = _Count(sum(map(len, splits(category).values())))
        return {
            split: [partial(self._examples, shard, root, numbered) for shard in _shards(samples)]
            for split, samples in splits(category).items()
        }

    def _examples(
        self, samples: Sequence[Sample], root: Path, count: "_Count"
    ) -> Iterator[tuple[int, Example]]:
        for i, sample in enumerate(samples):
            # Paths, not bytes: TFDS keeps the examples of a shard, and reads a file as it writes.
            yield (
                i,
                {
                    "image": str(sample.path),
                    "masks": [str(mask) for mask in sample.masks],
                    "label": sample.label,
                    "kind": sample.kind,
                    "path": _relative(sample.path, root),
                },
            )
            count.done += 1
            self.advance(count.done, count.total)


class _Skip(tfds.decode.SkipDecoding):
    # TFDS has it for single features only, where it decodes without TensorFlow.
    def decode_batch_example_np(self, serialized_example: Any) -> Any:
        return serialized_example


class _Count:
    """Images stored so far, over all shards and splits."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0


def splits(category: Category) -> dict[str, tuple[Sample, ...]]:
    """The samples by the name of their split; TFDS has no empty ones."""
    parts = {"train": category.train, "validation": category.validation, "test": category.test}
    return {split: samples for split, samples in parts.items() if samples}


def metadata(category: Category, root: Path) -> dict[str, Any]:
    """What is known of a category without its pixels; equal for the same files only.

    Args:
        category: as its reader gives it.
        root: the directory that its paths are relative to.

    Returns:
        ``splits``: by name, of each sample in order its ``path``, ``label``, ``kind``, ``masks``
        (paths) and ``bytes`` (sizes of image and masks); ``saturations``: by the value of a
        mask, as text, threshold and whether it is relative. As JSON gives it back.
    """

    def entry(sample: Sample) -> Entry:
        return {
            "path": _relative(sample.path, root),
            "label": sample.label,
            "kind": sample.kind,
            "masks": [_relative(mask, root) for mask in sample.masks],
            "bytes": _sizes(sample),
        }

    return {
        "splits": {name: list(map(entry, samples)) for name, samples in splits(category).items()},
        "saturations": {
            str(value): list(saturation) for value, saturation in category.saturations.items()
        },
    }


def _relative(file: File, root: Path) -> str:
    return Path(str(file)).relative_to(root).as_posix()


def _sizes(sample: Sample) -> list[int]:
    return [os.path.getsize(str(file)) for file in (sample.path, *sample.masks)]


def _shards(samples: Sequence[Sample]) -> list[list[Sample]]:
    shards: list[list[Sample]] = []
    free = 0
    for sample in samples:
        size = sum(_sizes(sample))
        if size > free:
            shards.append([])
            free = SHARD
        shards[-1].append(sample)
        free -= size
    return shards


def _builder(layout: str) -> type[LayoutBuilder]:
    title = LAYOUTS[layout].title
    configs = [
        tfds.core.BuilderConfig(name=name, description=f"{name} of {title}")
        for name in LAYOUTS[layout].published
    ]
    return type(
        "".join(word.capitalize() for word in layout.split("_")),
        (LayoutBuilder,),
        {
            "__doc__": f"{title}: see ``LayoutBuilder``.",
            "__module__": __name__,
            "name": layout,
            "layout": layout,
            "BUILDER_CONFIGS": configs,
            "MANUAL_DOWNLOAD_INSTRUCTIONS": f"{title}, unpacked as it was published.",
        },
    )


BUILDERS = {layout: _builder(layout) for layout in LAYOUTS}
"""By layout. Published categories are configs; any other one, such as the directory of ``folder``,
is given as a ``BuilderConfig`` of its name."""

# A class is pickled by its module and name, in a worker process of a data loader for instance.
globals().update({builder.__name__: builder for builder in BUILDERS.values()})


def store(
    layout: str, root: Path, data_dir: Path, name: str, advance: Callable[[int, int], None]
) -> None:
    """Has TFDS store a category, without a word and without the network.

    Args:
        layout: a key of ``LAYOUTS``.
        root: the data set's directory, as published.
        data_dir: where prepared data sets are kept.
        name: the category.
        advance: called with the number of images stored, and of how many.
    """
    # Nothing is downloaded, but TFDS makes the directories for it.
    with _quiet(), tempfile.TemporaryDirectory() as downloads:
        known = name in LAYOUTS[layout].published
        config = name if known else tfds.core.BuilderConfig(name=name)
        builder = BUILDERS[layout](data_dir=data_dir, config=config)
        builder.advance = advance
        builder.download_and_prepare(
            download_dir=downloads,
            download_config=tfds.download.DownloadConfig(manual_dir=root, try_download_gcs=False),
            file_format="array_record",
        )


# Any, for Sequence[Example]: a type checker at run time would read one of them.
def records(directory: Path, split: str) -> Any:
    """The examples of a split, images and masks as the bytes of their files; each read when asked.

    Args:
        directory: of a prepared category's version.
        split: ``train``, ``validation`` or ``test``.

    Raises:
        ValueError: it is described by classes that are not TFDS's own.
    """
    # TFDS imports whatever module a description names.
    described = untrusted.parse((directory / "features.json").read_bytes())
    if foreign := [name for name in _classes(described) if not str(name).startswith(OWN)]:
        raise ValueError(f"features.json names the class {foreign[0]!r}")
    builder: Any = tfds.builder_from_directory(directory)
    return builder.as_data_source(split, decoders={"image": _Skip(), "masks": _Skip()})


def _classes(described: Any) -> Iterator[Any]:
    """All classes that are named in a description of features, however deep."""
    if isinstance(described, dict):
        for key, value in described.items():
            if key in ("pythonClassName", "python_class_name"):
                yield value
            yield from _classes(value)
    elif isinstance(described, list):
        for value in described:
            yield from _classes(value)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TFDS prints, warns and draws progress bars of its own."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        logging.set_verbosity(verbosity)
