"""TensorFlow Datasets builders, one for each layout; importing this file registers them.

``tfds.builder("mvtec_ad/bottle", data_dir=...)`` then finds them. Only ``tfds.py`` imports this
file, so that the other parts run without tensorflow-datasets. TensorFlow is not needed if the file
format is ``array_record``.
"""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from absl import logging

from wtflow_jax.data.layouts import LAYOUTS, open_category
from wtflow_jax.data.sample import Category, Sample
from wtflow_jax.data.tfds import VERSION
from wtflow_jax.support.console import Advance, Track, untracked


class _Info(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """Do nothing: these data sets are in no bucket, and TFDS would leave an empty directory."""


# Shard by shard: the other builders hold up to 1 GB in memory, and need TensorFlow beyond that.
class LayoutBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Stores the files of one category as they are, in the order of its reader.

    The original data are in the manual directory; configs are categories. ``info.metadata``
    describes a category without its pixels: see ``metadata``. ``track`` shows progress.
    """

    VERSION = tfds.core.Version(VERSION)
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    track: Track = staticmethod(untracked)

    def _info(self) -> tfds.core.DatasetInfo:
        layout = LAYOUTS[self.name]
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
        config: Any = self.builder_config
        described: Any = self.info.metadata
        described.update(metadata(open_category(root, config.name, self.name), root))
        splits = described["splits"]
        advance = self.track(config.name, sum(map(len, splits.values())))
        return {name: [partial(_examples, part, root, advance)] for name, part in splits.items()}


def _examples(
    entries: list[dict[str, Any]], root: Path, advance: Advance
) -> Iterator[tuple[int, dict[str, Any]]]:
    for i, entry in enumerate(entries):
        # Paths, not bytes: TFDS keeps all examples, and reads each file only when it writes it.
        image, *masks = (str(root / file) for file in (entry["path"], *entry["masks"]))
        about = {key: entry[key] for key in ("label", "kind", "path")}
        yield i, {"image": image, "masks": masks, **about}
        advance()


def metadata(category: Category, root: Path) -> dict[str, Any]:
    """Return a JSON description of a category without its pixels, to recognize the same files.

    Paths are relative to the root; ``bytes`` are the file sizes of image and masks. The keys of
    ``saturations`` are values in a mask, as text.
    """

    def entry(sample: Sample) -> dict[str, Any]:
        files = [Path(str(file)) for file in (sample.path, *sample.masks)]
        image, *masks = (file.relative_to(root).as_posix() for file in files)
        about = {"path": image, "masks": masks, "label": sample.label, "kind": sample.kind}
        return about | {"bytes": [file.stat().st_size for file in files]}

    parts = {"train": category.train, "validation": category.validation, "test": category.test}
    return {
        # TFDS has no empty splits.
        "splits": {split: list(map(entry, part)) for split, part in parts.items() if part},
        "saturations": {str(value): list(one) for value, one in category.saturations.items()},
    }


def _class(layout: str) -> type[LayoutBuilder]:
    title, categories = LAYOUTS[layout].title, LAYOUTS[layout].published
    config = tfds.core.BuilderConfig
    fields = {
        "__doc__": f"{title}: see ``LayoutBuilder``.",
        "__module__": __name__,
        "name": layout,
        "BUILDER_CONFIGS": [config(name=c, description=f"{c} of {title}") for c in categories],
        "MANUAL_DOWNLOAD_INSTRUCTIONS": f"{title}, unpacked as it was published.",
    }
    return type("".join(map(str.capitalize, layout.split("_"))), (LayoutBuilder,), fields)


BUILDERS = {layout: _class(layout) for layout in LAYOUTS}
"""By layout. Published categories are configs; any other category, such as the directory of
``folder``, is given as a ``BuilderConfig`` of its name."""

# Pickle, for instance for a data loader's worker process, finds a class by its module and name.
globals().update({builder.__name__: builder for builder in BUILDERS.values()})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep TFDS from printing, warning and drawing progress bars of its own."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        logging.set_verbosity(verbosity)


@_quiet()
def _builder(layout: str, data_dir: Path, name: str) -> LayoutBuilder:
    known = name in LAYOUTS[layout].published
    config = name if known else tfds.core.BuilderConfig(name=name)
    return BUILDERS[layout](data_dir=data_dir, config=config)


@_quiet()
def store(layout: str, root: Path, data_dir: Path, name: str, track: Track) -> None:
    """Have TFDS store a category, see ``tfds.prepare``; without output and without network."""
    builder = _builder(layout, data_dir, name)
    builder.track = track
    # Nothing is downloaded, but TFDS creates download directories.
    with tempfile.TemporaryDirectory() as downloads:
        builder.download_and_prepare(
            download_dir=downloads,
            download_config=tfds.download.DownloadConfig(manual_dir=root, try_download_gcs=False),
            file_format="array_record",
        )


class _Skip(tfds.decode.SkipDecoding):
    # Without TensorFlow, TFDS has this method for single features only.
    def decode_batch_example_np(self, serialized_example: Any) -> Any:
        return serialized_example


# Annotated as Any, not as a sequence: a type checker at run time would read an example.
def records(layout: str, data_dir: Path, name: str, split: str) -> Any:
    """Return the examples of a prepared split, images and masks as the bytes of their files.

    Each is read on access. Features are those of the builder: TFDS's own way to open a directory
    would import any module that the untrusted description names.
    """
    builder: Any = _builder(layout, data_dir, name)
    return builder.as_data_source(split, decoders={"image": _Skip(), "masks": _Skip()})
