"""Data sets prepared for TensorFlow Datasets (TFDS), read in place of the original files.

``prepare`` stores a category's unchanged files, with labels and kinds, in array_record files: few
large files with random access. ``prepared`` returns the same samples as the layout's own reader, in
the same order; their paths are ``Held``, which read a record each time. TensorFlow is not needed.
tensorflow-datasets is needed; only ``tfds_builders`` imports it, at first use.
"""

import errno
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from wtflow_jax.data.files import one_line
from wtflow_jax.data.layouts import LAYOUTS, Layout, open_category
from wtflow_jax.data.sample import Category, Held, Sample, Saturation
from wtflow_jax.support.console import Track, untracked
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.files import alone

VERSION = "1.0.0"
"""Directory of a prepared category: raise it when the same files would be stored differently."""


def prepare(layout: str, root: Path, data_dir: Path, name: str, track: Track = untracked) -> bool:
    """Store a category of a data set under ``data_dir/LAYOUT/CATEGORY/VERSION``.

    The category appears there complete or not at all; unfinished files of a killed call are
    deleted.

    Returns:
        True if the category was stored now, False if it was there before.

    Raises:
        WTFlowError: tensorflow-datasets is not installed; the category cannot be read or written;
            it was prepared before from other files; another process is preparing it.
    """
    builders = _builders()
    category = open_category(root, name, layout)
    directory = data_dir / layout / name
    if (directory / VERSION).is_dir():
        if _metadata(directory) != builders.metadata(category, root):
            raise WTFlowError(
                f"{directory}: was prepared from other files than those of {root}: delete it, or "
                "give another --data-dir"
            )
        return False
    try:
        with alone(directory):
            for unfinished in directory.glob("incomplete.*"):
                shutil.rmtree(unfinished)
            builders.store(layout, root, data_dir, name, track)
    except WTFlowError:
        raise
    # array_record, protobuf and TFDS share no type of error; TFDS wraps the original one.
    except Exception as error:
        reason = one_line(error.__cause__ or error)
        raise WTFlowError(f"{directory}: cannot be prepared: {reason}") from error
    return True


def prepared(layout: str) -> Layout:
    """Return the layout that reads what ``prepare`` stores; its samples' files are ``Held``.

    Listing categories does not need tensorflow-datasets. WTFlowError: the layout is unknown.
    """
    read, names = partial(_read, layout), partial(_categories, layout)
    return LAYOUTS.find(layout)._replace(categories=names, read=read)


def _categories(layout: str, data_dir: Path) -> tuple[str, ...]:
    found = (data_dir / layout).glob(f"*/{VERSION}/dataset_info.json")
    names = sorted(path.parents[1].name for path in found)
    if not names:
        raise WTFlowError(
            f"{data_dir / layout}: no category prepared there: "
            f"run python -m wtflow_jax.datasets prepare {layout} ROOT --data-dir {data_dir}"
        )
    return tuple(names)


def _read(layout: str, data_dir: Path, name: str) -> Category:
    builders, directory = _builders(), data_dir / layout / name
    described = _metadata(directory)
    try:
        found = {
            split: _samples(directory, builders.records(layout, data_dir, name, split), entries)
            for split, entries in described["splits"].items()
        }
        saturations = {int(value): Saturation(*s) for value, s in described["saturations"].items()}
        return Category(name, **{"train": (), "test": (), **found}, saturations=saturations)
    except Exception as error:
        raise _damaged(directory, error) from error


def _samples(directory: Path, records: Any, entries: list[dict[str, Any]]) -> tuple[Sample, ...]:
    if len(records) != len(entries):
        raise ValueError(f"{len(records)} records instead of {len(entries)}")

    def stored(path: str, record: Callable[[], bytes]) -> Held:
        name = f"{directory}#{path.removeprefix(f'{directory.name}/')}"

        def load() -> bytes:
            try:
                # A truncated record is None, which bytes refuses.
                return bytes(record())
            # array_record and protobuf share no type of error.
            except Exception as error:
                reason = f"the record cannot be read: {one_line(error)}"
                raise OSError(errno.EIO, reason, name) from error

        return Held(name, load)

    def sample(i: int, path: str, label: int, kind: str, masks: list[str], **_: Any) -> Sample:
        image = stored(path, lambda: records[i]["image"])
        each = (stored(m, lambda at=at: records[i]["masks"][at]) for at, m in enumerate(masks))
        return Sample(image, label, kind, tuple(each))

    return tuple(sample(i, **entry) for i, entry in enumerate(entries))


def _builders() -> Any:
    try:
        from wtflow_jax.data import tfds_builders
    except ImportError as error:
        raise WTFlowError(
            f"tensorflow-datasets is not installed, or incomplete ({one_line(error)}): "
            'pip install -e ".[tfds]" -c constraints.txt in a clone of this repository'
        ) from error
    return tfds_builders


def _metadata(directory: Path) -> Any:
    try:
        return json.loads((directory / VERSION / "metadata.json").read_bytes())
    except (OSError, ValueError) as error:
        raise _damaged(directory, error) from error


def _damaged(directory: Path, error: Exception) -> WTFlowError:
    return WTFlowError(
        f"{directory}: not as prepared ({one_line(error)}): delete it and prepare it again"
    )
