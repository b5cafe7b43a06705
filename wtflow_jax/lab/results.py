"""The results of a run: ``results.json``, its rows, and ``table.md``."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wtflow_jax.lab.flags import Setup
from wtflow_jax.support.console import Table, markdown
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.files import replacing, write_json, written

FILE, TABLE = "results.json", "table.md"
NEEDED = {"category", "variant", "seed", "settings"}
"""Entries that identify a row of an experiment."""

Row = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]
Results = dict[str, Any]


def write(out: Path, results: Mapping[str, Any], tables: Sequence[Table]) -> None:
    """Write results and their tables to a directory."""
    write_json(out / FILE, {**results, "tables": [table._asdict() for table in tables]})
    with replacing(out / TABLE) as part:
        text = "\n".join(map(markdown, tables))
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def read(path: Path) -> Results:
    """Return the results of an experiment; raise WTFlowError if the file is not a results file."""
    try:
        results = json.loads(path.read_bytes())
        if {"experiment", "config", "rows"} - set(results):
            raise ValueError("no results")
        if not all(row.keys() >= NEEDED for row in results["rows"]):
            raise ValueError("a row without its settings")
        return results
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise WTFlowError(f"{path}: is not a results file; give another --out") from error


def begin(name: str, setup: Setup) -> Results:
    """Return the results of the run to resume, or empty results for a new run.

    Raises:
        WTFlowError: the directory holds other files, or results of other flags.
    """
    out, resume = setup.run.out, setup.run.resume
    path, config = out / FILE, json.loads(json.dumps(setup.flags(), default=str))
    fresh = {"experiment": name, "config": config, "rows": []}
    found = {file.relative_to(out).parts[0] for file in written(out)}
    if not found:
        return fresh
    if not resume:
        # A run that ended before its first row, for instance because of a bad image.
        if found <= {FILE, TABLE} and path.exists() and not read(path)["rows"]:
            return fresh
        raise WTFlowError(f"{out}: is not empty; give --resume, or another --out")
    if not path.exists():
        raise WTFlowError(f"{out}: has no {FILE}, so its flags are unknown; give another --out")
    results = read(path)
    if (other := results["experiment"]) != name:
        raise WTFlowError(f"{path}: was written by {other}.py, not {name}.py; give another --out")
    was, differ = results["config"], "give the same flags to --resume, or another --out"
    for flag in setup.comparable():
        if was.get(flag) != config[flag]:
            found = f"{flag} = {was.get(flag)}, not {config[flag]}"
            raise WTFlowError(f"{path}: was run with {found}; {differ}")
    return results | {"config": config}
