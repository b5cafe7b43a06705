"""Detects that the camera or its light has changed since a model was fitted.

A measure of ``data.look`` has a usual range, that of the good images. A defect changes it in some
images, a camera or its light in all. So it warns if more than half of the images are outside.
"""

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np

from wtflow_jax.data.look import Look
from wtflow_jax.support.errors import WTFlowWarning

MIDDLE = 2, 98
"""Percentiles of good images at the ends of a usual range; a few outliers do not matter."""
STRETCH = 0.5
"""Tolerance on either side of a range, as a share of its width."""
FEW = 5
"""Most of fewer images may show unusual parts, so the tolerance is wider."""
FARTHER = 3
"""Factor on the tolerance for fewer than ``FEW`` images."""
TOGETHER = 100
"""Images judged together, the latest ones: a change after thousands of images is seen too."""
OFTEN = 10
"""Images between two checks."""
MANY, MOST = 20, 0.9
"""Fewest images, and the share of them called defective, that give a warning."""

Usual: TypeAlias = Mapping[str, Sequence[float]]
"""The lowest and the highest usual value of each known measure."""


class Measure(NamedTuple):
    """Words for a measure, and its least tolerance."""

    less: str
    more: str
    value: str
    digits: str
    share: float  #: least tolerance, relative to the middle of the usual range
    least: float = 0.0  #: least tolerance, absolute


MEASURES = {
    "brightness": Measure("darker", "brighter", "brightness {}", ".0f", 0.05, 1),
    "red": Measure("less red", "redder", "red {} %", ".1f", 0.01),
    "blue": Measure("less blue", "bluer", "blue {} %", ".1f", 0.01),
    "colour": Measure("greyer", "more coloured", "colour {} %", ".0f", 0.1, 2),
    "contrast": Measure("paler", "harder", "contrast {} %", ".0f", 0.1, 1),
    "sharpness": Measure("less sharp", "sharper or grainier", "sharpness {} %", ".0f", 0.1),
    "pixels": Measure("smaller", "larger", "{} pixels", ",.0f", 0.2),
    "aspect": Measure("wider", "taller", "height over width {}", ".2f", 0.05),
}


def usual(looks: Sequence[Look]) -> dict[str, list[float]]:
    """Return the usual range of each measure over good images."""
    ends = np.percentile(looks, MIDDLE, axis=0).T.tolist()
    return dict(zip(Look._fields, ends, strict=True))


def judged(looks: Sequence[Look], defective: int, usual: Usual) -> str | None:
    """Return a warning if images, at least one, look unlike good ones; else None.

    ``defective`` is the number of these images called defective.
    """
    found, n = [], len(looks)
    # Lower and upper median: half of the images outside is not enough.
    lower, upper = (
        Look(*np.percentile(looks, 50, axis=0, method=side)) for side in ("lower", "higher")
    )
    for name, (low, high) in usual.items():
        one = MEASURES[name]
        slack = max(STRETCH * (high - low), one.share * (low + high) / 2, one.least)
        slack *= FARTHER if n < FEW else 1
        # Half of the usual minimum is always too little: one grey image among coloured ones.
        if (value := getattr(upper, name)) < max(low - slack, (low - one.least) / 2):
            word = one.less
        elif (value := getattr(lower, name)) > high + slack:
            word = one.more
        else:
            continue
        now, *ends = (format(number, one.digits) for number in (value, low, high))
        was = " to ".join(dict.fromkeys(ends))
        found.append(f"{word} ({one.value.format(now)}, was {was})")
    if not found:
        return None
    which = "the image is" if n == 1 else f"the last {n} images are"
    doubt = "unless the part itself is unusual, " if n < FEW else ""
    return (
        f"{which} unlike those the model was fitted on: {', '.join(found)}; {doubt}the camera or "
        f"its light has changed, and decisions may be wrong ({defective} of {n} called "
        "defective): fit again"
    )


@runtime_checkable
class Looked(Protocol):
    """A result of an image; its look is None if the image could not be scored."""

    @property
    def look(self) -> Look | None:
        """The measures of ``data.look``."""

    @property
    def defective(self) -> bool | None:
        """Whether the image is called defective."""


Result = TypeVar("Result", bound=Looked)


class Watch:
    """The last ``TOGETHER`` images, judged together; it warns once at most.

    It checks after ``first`` images, then after every ``OFTEN`` more.
    """

    def __init__(self, first: int) -> None:
        """Start without images."""
        self._first, self._recent = first, deque[tuple[Look, bool]](maxlen=TOGETHER)
        self.images, self.defective, self.said = 0, 0, False

    def see(self, result: Looked, usual: Usual) -> None:
        """Take a result; warn if a check is due and ``judged`` finds something."""
        if result.look is None:
            return
        self._recent.append((result.look, bool(result.defective)))
        self.images, self.defective = self.images + 1, self.defective + bool(result.defective)
        is_due = self.images >= self._first and self.images % OFTEN == 0
        if not self.said and is_due and (line := self.line(usual)):
            self.said = True
            warnings.warn(line, WTFlowWarning, stacklevel=3)

    def line(self, usual: Usual) -> str | None:
        """Return ``judged`` of the last images, at least one."""
        looks, called = zip(*self._recent, strict=True)
        return judged(looks, sum(called), usual)


def watched(results: Iterable[Result], usual: Usual) -> Iterator[Result]:
    """Yield results, and warn once if ``judged`` finds something in the last ``TOGETHER`` of them.

    It checks after ``TOGETHER`` images, then after every ``OFTEN`` more, and at the end. It also
    warns at the end if nothing was found, but nearly all images are called defective.
    """
    watch = Watch(TOGETHER)
    for result in results:
        yield result
        watch.see(result, usual)
    images, defective = watch.images, watch.defective
    if watch.said or not images:
        return
    if not (line := watch.line(usual)) and images >= MANY and defective >= MOST * images:
        line = (
            f"{defective} of {images} images are called defective: if many of them are good, the "
            "camera or the place of the part has changed: fit again"
        )
    if line:
        warnings.warn(line, WTFlowWarning, stacklevel=2)
