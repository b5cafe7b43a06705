"""The rows that ``wtflow predict`` writes, read again."""

import json
from typing import Any

COLUMNS = ("path", "score", "threshold", "decision", "map", "error")
PREDICTIONS = "predictions.jsonl"


def parse(content: bytes) -> list[dict[str, Any]]:
    """Return the rows of ``PREDICTIONS``, or of whole lines of it; ValueError of something else."""
    rows = [json.loads(line) for line in content.splitlines()]
    if not all(isinstance(row, dict) and row.keys() == set(COLUMNS) for row in rows):
        raise ValueError(f"expected rows of {', '.join(COLUMNS)}")
    return rows
