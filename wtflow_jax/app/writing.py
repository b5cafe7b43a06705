"""Results of many images, written as they come: one row each, whole or not at all."""

import csv
import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
from PIL import Image

from wtflow_jax.app.predicting import Scored
from wtflow_jax.app.report import rows
from wtflow_jax.app.report.pictures import overlay, scaled
from wtflow_jax.app.report.rows import COLUMNS, PREDICTIONS
from wtflow_jax.support.atomic import check_empty, replacing, sweep
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.threads import ahead

GOOD, DEFECTIVE = "good", "defective"
ROOT, UP = "_", "__"
"""In a map's path, in place of ``/`` and ``..``."""
TABLE, LINES, MAPS = "predictions.csv", PREDICTIONS, "maps"
ENDING = re.compile(r"\.png_*$")
"""In a map's path such a directory has one ``_`` more, as files have the name without."""
LONGEST = 200
"""Bytes of a name in a map's path: most file systems have 255, and more is put behind it."""

Kind = Literal["overlay", "16bit", "none"]


def _text(row: Mapping[str, Any]) -> str:
    text = io.StringIO()
    # What ends a line is quoted in a field: both characters, as readers take either for an end.
    csv.writer(text, lineterminator="\r\n").writerow([row[name] for name in COLUMNS])
    return text.getvalue().removesuffix("\r\n") + "\n"


def check_free(directory: Path, resume: bool) -> None:
    """Raise WTFlowError where results cannot be written: something is there.

    Args:
        directory: where results go.
        resume: whether to go on with those that are there.
    """
    if not (directory / LINES).is_file():
        check_empty(directory)
    elif not resume:
        raise WTFlowError(f"{directory}: is not empty; give --resume, or another --out")


class Results:
    """A directory of results; a context manager that closes its files.

    A row is written after its map and in one piece, first as JSON, then to the table. Of what was
    interrupted the last line may be a part, which ``resume`` cuts off.

    Attributes:
        rows: how many there are.
        defective: how many of them say so.
        failed: how many of them could not be scored.
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

        Args:
            directory: where results go.
            kind: of the maps that are written.
            colours: the model's scale.
            threshold: the model's.
            resume: whether to go on with rows that are there.

        Raises:
            WTFlowError: it holds something else, rows that cannot be read, or those of another
                model.
        """
        self.directory, self.kind, self.colours = directory, kind, colours
        self.threshold = threshold
        check_free(directory, resume)
        sweep(directory)
        known = _read(directory / LINES) if resume else []
        others = {row["threshold"] for row in known} - {threshold, None}
        if others:
            raise WTFlowError(
                f"{directory}: has rows of another model, whose threshold is {min(others):.5g} and "
                f"not {threshold:.5g}; give another --out"
            )
        with replacing(directory / LINES) as part:
            part.write_text("".join(f"{json.dumps(row)}\n" for row in known))
        with replacing(directory / TABLE) as part, _open(part, "w") as file:
            file.write(",".join(COLUMNS) + "\n" + "".join(map(_text, known)))
        self._done = Counter(Path(row["path"]) for row in known)
        self.rows = len(known)
        self.defective = sum(row["decision"] == DEFECTIVE for row in known)
        self.failed = sum(row["error"] is not None for row in known)
        self._lines = _open(directory / LINES, "a")
        self._table = _open(directory / TABLE, "a")

    def __enter__(self) -> "Results":
        """Return self."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the files."""
        self._lines.close()
        self._table.close()

    def has(self, path: Path) -> bool:
        """Return whether an image had a row before; one that is given twice has two."""
        if not self._done[path]:
            return False
        self._done[path] -= 1
        return True

    def write(self, scored: Iterable[Scored]) -> Iterator[Scored]:
        """Write what is found of images, and yield it; maps are drawn in threads.

        Args:
            scored: of any number of images; a few more are taken from it than are yielded.
        """
        for found, drawn in ahead(lambda found: (found, self._map(found)), scored):
            self._add(found, drawn)
            yield found

    def _add(self, found: Scored, drawn: str | None) -> None:
        row = dict.fromkeys(COLUMNS) | {"path": str(found.path), "error": found.error}
        if found.score is not None:
            row |= {"score": found.score, "threshold": self.threshold, "map": drawn}
            row["decision"] = DEFECTIVE if found.defective else GOOD
        for file, text in ((self._lines, json.dumps(row) + "\n"), (self._table, _text(row))):
            file.write(text)
            file.flush()
        self.rows += 1
        self.defective += bool(found.defective)
        self.failed += found.error is not None

    def _map(self, found: Scored) -> str | None:
        if self.kind == "none" or found.map is None or found.pixels is None:
            return None
        values = scaled(found.map, self.colours)
        if self.kind == "16bit":
            picture = Image.fromarray(np.round(65535 * values).astype(np.uint16))
        else:
            picture = Image.fromarray(overlay(found.pixels, values))
        # The path as it was given, but for what would lead out of the directory.
        *above, last = (_short(_name(part)) for part in Path(str(found.path)).parts)
        name = Path(MAPS, *(ENDING.sub(r"\g<0>_", part) for part in above), f"{last}.png")
        with replacing(self.directory / name) as part:
            picture.save(part, "PNG", compress_level=1)
        return name.as_posix()


def _open(path: Path, mode: Literal["w", "a"]) -> TextIO:
    # Paths as the file system has them, UTF-8 or not.
    return path.open(mode, encoding="utf-8", errors="surrogateescape", newline="")


def _name(part: str) -> str:
    """Return a part of a path; ``ROOT`` and ``UP`` stand for nothing else."""
    if part.startswith("/"):
        return ROOT
    if set(part) == {"_"}:
        return f"{part}{UP}"
    return UP if part == ".." else part


def _short(name: str) -> str:
    """Return a file name, its end replaced by a digest where it is long."""
    whole = os.fsencode(name)
    if len(whole) <= LONGEST:
        return name
    digest = hashlib.sha256(whole).hexdigest()[:16]
    return f"{whole[: LONGEST - 17].decode(errors='ignore')}-{digest}"


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file that may end within a line."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    whole, _, _ = content.rpartition(b"\n")
    try:
        return rows.parse(whole)
    except ValueError as error:
        raise WTFlowError(f"{path}: is not of wtflow predict; give another --out") from error
