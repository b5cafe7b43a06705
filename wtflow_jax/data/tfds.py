"""Data sets prepared for TensorFlow Datasets (TFDS), read in place of the original files.

``prepare`` stores a category's files as they are, next to labels and kinds, in array_record files:
few large ones, with random access. ``open_category`` gives the samples that the layout's own reader
gives, in the same order; their paths are ``StoredFile``, which read single records. TensorFlow is
not needed; tensorflow-datasets is, and is imported by ``tfds_builders`` alone, when first used.
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from wtflow_jax.data.layouts import find
from wtflow_jax.data.sample import Category, Sample, Saturation
from wtflow_jax.support import untrusted
from wtflow_jax.support.errors import WTFlowError

Advance = Callable[[int, int], None]

INSTALL = (
    "tensorflow-datasets is not installed, or not whole ({}): "
    'pip install -e ".[tfds]" -c constraints.txt in a clone of this repository'
)


@dataclass(frozen=True)
class StoredFile:
    """A file in a prepared data set, read from its record anew each time.

    Attributes:
        name: ``DIR/LAYOUT/CATEGORY#PATH``; there is no such file on disk.
        load: reads the record.
    """

    name: str
    load: Callable[[], bytes] = field(compare=False, repr=False)

    def __str__(self) -> str:
        """Its name."""
        return self.name

    @property
    def stem(self) -> str:
        """The name of the published file without suffix."""
        return PurePath(self.name).stem

    def read_bytes(self) -> bytes:
        """The file as it was published.

        Raises:
            OSError: its record cannot be read.
        """
        try:
            return self.load()
        # array_record and protobuf raise what they like: RuntimeError, ValueError, DecodeError, ...
        except Exception as error:
            reason = f"no record to be read: {_one_line(error)}"
            raise OSError(errno.EIO, reason, str(self)) from error


def prepare(
    layout: str,
    root: Path,
    data_dir: Path,
    name: str,
    advance: Advance = lambda done, total: None,
) -> bool:
    """Stores a category of a data set under ``data_dir/LAYOUT/CATEGORY/VERSION``.

    It appears there complete or not at all. What an earlier call left unfinished, because it was
    killed, is deleted.

    Args:
        layout: a key of ``LAYOUTS``.
        root: the data set's directory, as published.
        data_dir: where prepared data sets are kept; made if missing.
        name: the category.
        advance: called with the number of images stored, and of how many.

    Returns:
        Whether it was stored; False where it had been.

    Raises:
        WTFlowError: tensorflow-datasets is not installed; the layout's reader does not read the
            category; one prepared before is of other files; a file cannot be read or written;
            another process is preparing the category.
    """
    builders = _builders()
    category = find(layout).open_category(root, name)
    directory = data_dir / layout / name / builders.VERSION
    if directory.is_dir():
        if _metadata(directory) != builders.metadata(category, root):
            raise WTFlowError(
                f"{directory}: was prepared from other files than those of {root}: "
                "delete it, or give another --data-dir"
            )
        return False
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _alone(directory.parent):
            for unfinished in directory.parent.glob("incomplete.*"):
                shutil.rmtree(unfinished)
            builders.store(layout, root, data_dir, name, advance)
    except WTFlowError:
        raise
    except OSError as error:
        # TFDS raises another one over that of a file it reads, and leaves its name away.
        first = error.__cause__ if isinstance(error.__cause__, OSError) else error
        where = first.filename or directory
        raise WTFlowError(f"{where}: {_one_line(first)}; {name} is not prepared") from error
    # What array_record, protobuf and TFDS raise has no type in common.
    except Exception as error:
        raise WTFlowError(f"{directory}: cannot be prepared: {_one_line(error)}") from error
    finally:
        for empty in (directory.parent, directory.parents[1]):
            with contextlib.suppress(OSError):
                empty.rmdir()
    return True


def categories(data_dir: Path, layout: str) -> tuple[str, ...]:
    """Names of the prepared categories; tensorflow-datasets is not needed for it.

    Args:
        data_dir: as given to ``prepare``.
        layout: a key of ``LAYOUTS``.

    Returns:
        Sorted names, at least one.

    Raises:
        WTFlowError: no such layout, or none of its categories is prepared there.
    """
    find(layout)
    found = (data_dir / layout).glob("*/[0-9]*/dataset_info.json")
    names = sorted({path.parents[1].name for path in found})
    if not names:
        what = "no category" if (data_dir / layout).is_dir() else "nothing"
        raise WTFlowError(
            f"{data_dir / layout}: {what} prepared there: "
            f"run python -m wtflow_jax.data prepare {layout} ROOT --data-dir {data_dir}"
        )
    return tuple(names)


def open_category(data_dir: Path, name: str, layout: str) -> Category:
    """Lists a prepared category's images; none is read.

    Args:
        data_dir: as given to ``prepare``.
        name: the category.
        layout: a key of ``LAYOUTS``.

    Returns:
        As the layout's reader of the original data; paths and masks are ``StoredFile``.

    Raises:
        WTFlowError: tensorflow-datasets is not installed; as ``categories``; no such category; it
            is of another version, or damaged.
    """
    builders = _builders()
    known = categories(data_dir, layout)
    parent = data_dir / layout / name
    directory = parent / builders.VERSION
    again = f"delete {parent} and prepare it again"
    if name not in known:
        raise WTFlowError(f"{parent}: not prepared: prepare it, or take one of {', '.join(known)}")
    if not directory.is_dir():
        versions = ", ".join(
            sorted(path.parent.name for path in parent.glob("[0-9]*/dataset_info.json"))
        )
        raise WTFlowError(f"{parent}: of version {versions}, not {builders.VERSION}: {again}")
    try:
        described = _metadata(directory)
        splits = {
            split: _samples(directory, split, name, entries)
            for split, entries in described["splits"].items()
        }
        saturations = {
            int(value): Saturation(float(threshold), bool(relative))
            for value, (threshold, relative) in described["saturations"].items()
        }
    except WTFlowError:
        raise
    except Exception as error:
        raise WTFlowError(f"{directory}: not as prepared ({_one_line(error)}): {again}") from error
    train, test = splits.get("train", ()), splits.get("test", ())
    return Category(name, train, test, splits.get("validation", ()), saturations)


def _builders() -> Any:
    try:
        from wtflow_jax.data import tfds_builders
    except ImportError as error:
        raise WTFlowError(INSTALL.format(_one_line(error))) from error
    return tfds_builders


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Lets one process at a time in; the system takes the lock off a process that is killed."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise WTFlowError(f"{directory}: another process is preparing it: wait for it") from error
    finally:
        os.close(descriptor)


def _metadata(directory: Path) -> dict[str, Any]:
    path = directory / "metadata.json"
    try:
        return untrusted.parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise WTFlowError(
            f"{path}: cannot be read ({_one_line(error)}): delete {directory} and prepare it again"
        ) from error


def _samples(
    directory: Path, split: str, name: str, entries: Sequence[dict[str, Any]]
) -> tuple[Sample, ...]:
    read = _reader(directory, split, len(entries))

    def stored(path: str, record: int, mask: int | None = None) -> StoredFile:
        label = f"{directory.parent}#{path.removeprefix(f'{name}/')}"
        return StoredFile(label, partial(read, record, mask))

    return tuple(
        Sample(
            stored(entry["path"], i),
            entry["label"],
            entry["kind"],
            tuple(stored(path, i, number) for number, path in enumerate(entry["masks"])),
        )
        for i, entry in enumerate(entries)
    )


def _reader(directory: Path, split: str, count: int) -> Callable[[int, int | None], bytes]:
    """Reads the image of a record, or one of its masks; files are opened by the first read."""
    source = _builders().records(directory, split)
    if len(source) != count:
        raise WTFlowError(
            f"{directory}: {len(source)} records of {split} instead of {count}: "
            f"delete {directory} and prepare it again"
        )

    def read(index: int, mask: int | None) -> bytes:
        example = source[index]
        return example["image"] if mask is None else example["masks"][mask]

    return read


def _one_line(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
