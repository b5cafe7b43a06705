"""What every reader returns."""

from pathlib import Path
from typing import NamedTuple


class Sample(NamedTuple):
    """One image of a data set.

    Attributes:
        path: the image file.
        label: 0 good, 1 defective.
        kind: ``good`` or the name of the defect.
        masks: files whose union marks the defect; empty for a good image.
    """

    path: Path
    label: int
    kind: str
    masks: tuple[Path, ...] = ()


class Category(NamedTuple):
    """One object or texture: a model is trained and scored on each by itself.

    Attributes:
        name: as its directory is called.
        train: good images only.
        test: good and defective ones; by kind, then by file name.
    """

    name: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
