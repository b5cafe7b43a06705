"""Results of many images, written one complete row at a time."""

import contextlib
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

from wtflow_jax.app.report.pictures import LONGEST as LARGEST
from wtflow_jax.app.report.pictures import overlay, scaled, with_verdict
from wtflow_jax.data.depth import White
from wtflow_jax.data.images import UNKNOWN, open_image
from wtflow_jax.detector.model import Result
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.files import check_empty, replacing
from wtflow_jax.support.threads import ahead

GOOD, DEFECTIVE = "good", "defective"
TABLE, LINES, MAPS = "predictions.csv", "predictions.jsonl", "maps"
COLUMNS = ("path", "score", "threshold", "decision", "map", "error")
ENDING = re.compile(r"\.png_*$")
"""A directory with this ending gets one more ``_`` in a map's path: the name may be a file's."""
LONGEST = 200
"""Most bytes of a name in a map's path: file systems allow 255, and endings are added."""

Kind = Literal["overlay", "16bit", "none"]
Row = dict[str, Any]


def check_free(directory: Path, resume: bool) -> None:
    """Raise WTFlowError if a directory is not empty, unless its rows are resumed."""
    if not (directory / LINES).is_file():
        check_empty(directory)
    elif not resume:
        raise WTFlowError(f"{directory}: is not empty; give --resume, or another --out")


class Results:
    """A directory of results.

    A row is written after its map, in one write: first as JSON, then to the table. After an
    interruption the last line may be incomplete; ``resume`` removes it. ``decisions`` counts rows
    by decision; None counts images that could not be scored.
    """

    def __init__(
        self,
        directory: Path,
        kind: Kind,
        colours: tuple[float, float],
        threshold: float,
        resume: bool = False,
        base: Path | None = None,
        white: White = UNKNOWN,
    ) -> None:
        """Open a directory; create it if it does not exist.

        Args:
            directory: directory of the results.
            kind: kind of the maps.
            colours: colour scale of the model, as are ``threshold`` and ``white``.
            threshold: score above which an image is defective.
            resume: whether to continue existing rows.
            base: directory to leave out of the names of maps.
            white: value of white in images of more than eight bits.

        Raises:
            WTFlowError: the directory holds other files, or rows of another model.
        """
        self._directory, self._kind = directory, kind
        self._maps = os.path.abspath(directory / MAPS)
        self._colours, self._threshold = colours, threshold
        self._base, self._white = base, white
        check_free(directory, resume)
        known: list[Row] = []
        if resume and (path := directory / LINES).is_file():
            try:
                known = parse(path.read_bytes().rpartition(b"\n")[0])
            except ValueError as error:
                why = f"{path}: was not written by wtflow predict; give another --out"
                raise WTFlowError(why) from error
        if others := {row["threshold"] for row in known} - {threshold, None}:
            raise WTFlowError(
                f"{directory}: has rows of another model, whose threshold is {min(others):.5g} and "
                f"not {threshold:.5g}; give another --out"
            )
        self._taken = {row["map"]: row["path"] for row in known}
        self._done = Counter(Path(row["path"]) for row in known)
        self.decisions = Counter(row["decision"] for row in known)
        head = ",".join(COLUMNS) + "\n"
        for name, texts in ((LINES, map(_line, known)), (TABLE, [head, *map(_cells, known)])):
            with replacing(directory / name) as part:
                _append(part, "".join(texts))

    def has(self, path: Path) -> bool:
        """Return whether an image has an earlier row, or is a map here; a call uses up one row."""
        before = self._done[path] > 0
        self._done[path] -= before
        return before or Path(os.path.abspath(path)).is_relative_to(self._maps)

    def write(self, results: Iterable[Result]) -> Iterator[Result]:
        """Write results, and yield them; maps are drawn in threads.

        ``results`` is read a few items ahead.
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
            verdict = "DEFECTIVE" if result.defective else "good"
            text = f"{verdict} {result.score:.4g} (limit {self._threshold:.4g})"
            drawn = overlay(self._photograph(result), values)
            picture = with_verdict(drawn, text, bool(result.defective))
        name = self._place(Path(str(result.path)))
        with replacing(self._directory / name) as part:
            picture.save(part, "PNG", compress_level=1)
        return name.as_posix()

    def _photograph(self, result: Result) -> Image.Image:
        """Return the stored image, its sides up to ``LARGEST``; if unreadable, the scored one."""
        if isinstance(result.path, Path):
            with contextlib.suppress(WTFlowError):
                image = open_image(result.path, self._white)
                image.thumbnail((LARGEST, LARGEST))
                return image
        assert result.pixels is not None
        return Image.fromarray(result.pixels)

    def _place(self, path: Path) -> Path:
        """Return the path of an image's map in the directory, different for each image."""
        if self._base is not None and path.is_relative_to(self._base):
            short = _map(path.relative_to(self._base))
            # The resumed run may have used this path for another image.
            if self._taken.get(short.as_posix(), str(path)) == str(path):
                return short
        return _map(path)


def _map(path: Path) -> Path:
    *above, last = map(_name, path.parts)
    return Path(MAPS, *(ENDING.sub(r"\g<0>_", part) for part in above), f"{last}.png")


def common(sources: Iterable[str]) -> Path | None:
    """Return the common directory of all sources, as written; None if it does not exist."""
    found = []
    for source in sources:
        path = Path(source)
        try:
            found.append(path if path.is_dir() else path.parent if path.is_file() else None)
        # A name that is too long, or has invalid characters.
        except (OSError, ValueError):
            found.append(None)
    try:
        return None if None in found else Path(os.path.commonpath(filter(None, found)))
    # Absolute and relative paths.
    except ValueError:
        return None


def _line(row: Row) -> str:
    return json.dumps(row) + "\n"


def _cells(row: Row) -> str:
    text = io.StringIO()
    # With this terminator fields with \r or \n are quoted: readers take either for a line end.
    csv.writer(text, lineterminator="\r\n").writerow([row[name] for name in COLUMNS])
    return text.getvalue().removesuffix("\r\n") + "\n"


def _append(path: Path, text: str) -> None:
    # Paths of a file system need not be UTF-8.
    with path.open("a", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)


def parse(content: bytes) -> list[Row]:
    """Return the rows of complete lines of ``LINES``; ValueError if they are malformed."""
    rows = [json.loads(line) for line in content.splitlines()]
    if not all(isinstance(row, dict) and row.keys() == set(COLUMNS) for row in rows):
        raise ValueError(f"expected rows of {', '.join(COLUMNS)}")
    return rows


def _name(part: str) -> str:
    """Return a part of an image's path for a map's path: inside the directory, and not too long.

    It is ``_`` for ``/`` and ``__`` for ``..``, and for no other part. A digest ends a long part.
    """
    if part.startswith("/"):
        return "_"
    name = f"{part}__" if set(part) == {"_"} else "__" if part == ".." else part
    whole = os.fsencode(name)
    if len(whole) <= LONGEST:
        return name
    digest = hashlib.sha256(whole).hexdigest()[:16]
    return f"{whole[: LONGEST - 17].decode(errors='ignore')}-{digest}"
