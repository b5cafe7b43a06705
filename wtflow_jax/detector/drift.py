"""Are images taken as those were that a model was fitted on, or has the camera changed?

A measure of ``data.look`` has a usual range, that of the good images. A defect changes it in some
images, a camera or its light in all: it is said where more than half of them are outside.
"""

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np

from wtflow_jax.data.look import Look
from wtflow_jax.support.errors import WTFlowWarning

MIDDLE = 2, 98
"""Percentiles of good images: the ends of a usual range, whatever a few strange ones are."""
STRETCH = 0.5
"""Of a range's width: as far beyond it on either side nothing is said."""
FEW = 5
"""Of fewer images most may be of strange parts:"""
FARTHER = 3
"""nothing is said of them as far as so many times that."""
TOGETHER = 100
"""Images that are judged together: a camera that changes on the way is seen among thousands."""
OFTEN = 10
"""Images between two questions."""
MANY, MOST = 20, 0.9
"""Images, and the share of them that is called defective: it is asked whether they are."""

Usual: TypeAlias = Mapping[str, Sequence[float]]
"""The lowest and the highest usual value of each measure that is known."""


class Measure(NamedTuple):
    """How a measure is spoken of, and by how much it may differ in any case."""

    less: str
    more: str
    value: str
    digits: str
    share: float  #: of its usual values
    least: float = 0.0


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
    """Return the usual range of each measure, of good images."""
    ends = np.percentile(looks, MIDDLE, axis=0).T.tolist()
    return dict(zip(Look._fields, ends, strict=True))


def judged(looks: Sequence[Look], defective: int, usual: Usual) -> str | None:
    """Return a line on images, at least one, that look unlike good ones, or None.

    ``defective`` is how many of them are called so.
    """
    found, n = [], len(looks)
    # The two in the middle, so that no half of the images is outside alone.
    lower, upper = (
        Look(*np.percentile(looks, 50, axis=0, method=side)) for side in ("lower", "higher")
    )
    for name, (low, high) in usual.items():
        one = MEASURES[name]
        slack = max(STRETCH * (high - low), one.share * (low + high) / 2, one.least)
        slack *= FARTHER if n < FEW else 1
        # Half of what is usual is too little, of one image too: a grey one among coloured ones.
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
    doubt = "unless the part is as strange, " if n < FEW else ""
    return (
        f"{which} unlike those the model was fitted on: {', '.join(found)}; {doubt}the camera or "
        f"its light has changed, and decisions may be wrong ({defective} of {n} called "
        "defective): fit again"
    )


@runtime_checkable
class Looked(Protocol):
    """A result of an image; its look is None where it could not be scored."""

    @property
    def look(self) -> Look | None:
        """As ``data.look`` has it."""

    @property
    def defective(self) -> bool | None:
        """Whether it is called so."""


Result = TypeVar("Result", bound=Looked)


class Watch:
    """Images that are judged together: the last ``TOGETHER`` of them. What is found is said once.

    It is asked after ``first`` images, then after each ``OFTEN`` more.
    """

    def __init__(self, first: int) -> None:
        """Begin with none."""
        self._first, self._recent = first, deque[tuple[Look, bool]](maxlen=TOGETHER)
        self.images, self.defective, self.said = 0, 0, False

    def see(self, result: Looked, usual: Usual) -> None:
        """Take a result, and warn where it is time to ask and ``judged`` has a line."""
        if result.look is None:
            return
        self._recent.append((result.look, bool(result.defective)))
        self.images, self.defective = self.images + 1, self.defective + bool(result.defective)
        is_due = self.images >= self._first and self.images % OFTEN == 0
        if not self.said and is_due and (line := self.line(usual)):
            self.said = True
            warnings.warn(line, WTFlowWarning, stacklevel=3)

    def line(self, usual: Usual) -> str | None:
        """Return ``judged`` of the last images, of which there is one at least."""
        looks, called = zip(*self._recent, strict=True)
        return judged(looks, sum(called), usual)


def watched(results: Iterable[Result], usual: Usual) -> Iterator[Result]:
    """Yield results, and warn once where ``judged`` has a line on the last ``TOGETHER`` of them.

    It is asked after as many, then after each ``OFTEN`` more, and at the end. Where it has none and
    nearly all images are called defective, that is said.
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
            f"{defective} of {images} images are called defective: if more of them are good, the "
            "camera or the place of the part has changed: fit again"
        )
    if line:
        warnings.warn(line, WTFlowWarning, stacklevel=2)
