"""What every reader returns: files, samples, categories."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias


@dataclass(frozen=True)
class Held:
    """An image without a file of its own: given in memory, or a record of prepared data.

    Messages use its name: ``image 3``, ``DIR/LAYOUT/CATEGORY#PATH``.
    """

    name: str
    load: Callable[[], bytes] = field(compare=False, repr=False)

    def __str__(self) -> str:
        """Return its name."""
        return self.name

    def read_bytes(self) -> bytes:
        """Return the encoded image; OSError if its record cannot be read."""
        return self.load()


File: TypeAlias = Path | Held
"""An encoded image or mask; ``str`` returns its name."""


class Sample(NamedTuple):
    """One image of a data set.

    Attributes:
        path: the image.
        label: 0 good, 1 defective.
        kind: ``good`` or the name of the defect.
        masks: files whose union marks the defect; empty for a good image, and in the layout
            ``folder`` also for a defect without a mask.
    """

    path: File
    label: int
    kind: str
    masks: tuple[File, ...] = ()

    @property
    def known(self) -> bool:
        """Whether its defective pixels are known: it is good, or has a mask."""
        return not self.label or bool(self.masks)


class Saturation(NamedTuple):
    """The area of a defect that must be found to count as the whole defect (MVTec LOCO's sPRO).

    ``threshold`` is a share of the defect's area if ``relative``, else a number of mask pixels.
    """

    threshold: float
    relative: bool


class Category(NamedTuple):
    """One object or texture: each has a model of its own.

    Attributes:
        name: that of its directory.
        train: good images only.
        test: good and defective images; by kind, then by file name.
        validation: further good images, if the data set has them.
        saturations: of each defect, by the value that marks it in a mask; MVTec LOCO only.
    """

    name: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    validation: tuple[Sample, ...] = ()
    saturations: Mapping[int, Saturation] = {}
