"""Results of many images, written as they come: one row each, whole or not at all."""

import csv
import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from wtflow_jax.app.report.pictures import overlay, scaled
from wtflow_jax.detector.model import Result
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.files import check_empty, replacing
from wtflow_jax.support.threads import ahead

GOOD, DEFECTIVE = "good", "defective"
TABLE, LINES, MAPS = "predictions.csv", "predictions.jsonl", "maps"
COLUMNS = ("path", "score", "threshold", "decision", "map", "error")
ENDING = re.compile(r"\.png_*$")
"""In a map's path such a directory has one ``_`` more, as files have the name without."""
LONGEST = 200
"""Bytes of a name in a map's path: most file systems have 255, and more is put behind it."""

Kind = Literal["overlay", "16bit", "none"]
Row = dict[str, Any]


def check_free(directory: Path, resume: bool) -> None:
    """Raise WTFlowError where there is something, but for rows that are to be resumed."""
    if not (directory / LINES).is_file():
        check_empty(directory)
    elif not resume:
        raise WTFlowError(f"{directory}: is not empty; give --resume, or another --out")


class Results:
    """A directory of results.

    A row is written after its map and in one piece, first as JSON, then to the table. Of what was
    interrupted the last line may be a part, which ``resume`` cuts off. ``decisions`` counts the
    rows by their decision, None where an image could not be scored.
    """

    def __init__(
        self,
        directory: Path,
        kind: Kind,
        colours: tuple[float, float],
        threshold: float,
        resume: bool = False,
    ) -> None:
        """Open a directory, which is made where it does not exist.

        ``colours`` and ``threshold`` are the model's; ``resume`` goes on with rows that are there.

        Raises:
            WTFlowError: it holds something else, or rows of another model.
        """
        self._directory, self._kind = directory, kind
        self._maps = os.path.abspath(directory / MAPS)
        self._colours, self._threshold = colours, threshold
        check_free(directory, resume)
        known: list[Row] = []
        if resume and (path := directory / LINES).is_file():
            try:
                known = parse(path.read_bytes().rpartition(b"\n")[0])
            except ValueError as error:
                why = f"{path}: is not of wtflow predict; give another --out"
                raise WTFlowError(why) from error
        if others := {row["threshold"] for row in known} - {threshold, None}:
            raise WTFlowError(
                f"{directory}: has rows of another model, whose threshold is {min(others):.5g} and "
                f"not {threshold:.5g}; give another --out"
            )
        self._done = Counter(Path(row["path"]) for row in known)
        self.decisions = Counter(row["decision"] for row in known)
        head = ",".join(COLUMNS) + "\n"
        for name, texts in ((LINES, map(_line, known)), (TABLE, [head, *map(_cells, known)])):
            with replacing(directory / name) as part:
                _append(part, "".join(texts))

    def has(self, path: Path) -> bool:
        """Return whether an image had a row before (one given twice has two), or is a map here."""
        before = self._done[path] > 0
        self._done[path] -= before
        return before or Path(os.path.abspath(path)).is_relative_to(self._maps)

    def write(self, results: Iterable[Result]) -> Iterator[Result]:
        """Write what is found of images, and yield it; maps are drawn in threads.

        A few more results are taken than are yielded.
        """
        for result, drawn in ahead(lambda result: (result, self._draw(result)), results):
            row: Row = dict.fromkeys(COLUMNS) | {"path": str(result.path), "error": result.error}
            if result.score is not None:
                row |= {"score": result.score, "threshold": self._threshold, "map": drawn}
                row["decision"] = DEFECTIVE if result.defective else GOOD
            _append(self._directory / LINES, _line(row))
            _append(self._directory / TABLE, _cells(row))
            self.decisions[row["decision"]] += 1
            yield result

    def _draw(self, result: Result) -> str | None:
        """Draw a map, and return its path in the directory."""
        if self._kind == "none" or result.map is None or result.pixels is None:
            return None
        values = scaled(result.map, self._colours)
        if self._kind == "16bit":
            picture = Image.fromarray(np.round(65535 * values).astype(np.uint16))
        else:
            picture = overlay(Image.fromarray(result.pixels), values)
        *above, last = map(_name, Path(str(result.path)).parts)
        name = Path(MAPS, *(ENDING.sub(r"\g<0>_", part) for part in above), f"{last}.png")
        with replacing(self._directory / name) as part:
            picture.save(part, "PNG", compress_level=1)
        return name.as_posix()


def _line(row: Row) -> str:
    return json.dumps(row) + "\n"


def _cells(row: Row) -> str:
    text = io.StringIO()
    # What ends a line is quoted in a field: both characters, as readers take either for an end.
    csv.writer(text, lineterminator="\r\n").writerow([row[name] for name in COLUMNS])
    return text.getvalue().removesuffix("\r\n") + "\n"


def _append(path: Path, text: str) -> None:
    # Paths as the file system has them, UTF-8 or not.
    with path.open("a", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)


def parse(content: bytes) -> list[Row]:
    """Return the rows of ``LINES``, or of whole lines of it; ValueError of something else."""
    rows = [json.loads(line) for line in content.splitlines()]
    if not all(isinstance(row, dict) and row.keys() == set(COLUMNS) for row in rows):
        raise ValueError(f"expected rows of {', '.join(COLUMNS)}")
    return rows


def _name(part: str) -> str:
    """Return a part of a map's path: that of an image, which leads nowhere else and is not long.

    It is ``_`` for ``/`` and ``__`` for ``..``, which no other part is; a digest ends a long one.
    """
    if part.startswith("/"):
        return "_"
    name = f"{part}__" if set(part) == {"_"} else "__" if part == ".." else part
    whole = os.fsencode(name)
    if len(whole) <= LONGEST:
        return name
    digest = hashlib.sha256(whole).hexdigest()[:16]
    return f"{whole[: LONGEST - 17].decode(errors='ignore')}-{digest}"
