"""The rows that ``wtflow predict`` writes, read again."""

from math import isfinite
from typing import Any

from wtflow_jax.support import untrusted

COLUMNS = ("path", "score", "threshold", "decision", "map", "error")
PREDICTIONS = "predictions.jsonl"


def parse(content: bytes) -> list[dict[str, Any]]:
    """Return the rows of ``PREDICTIONS``, each with all ``COLUMNS``.

    Args:
        content: of the file, or of whole lines of it.

    Raises:
        ValueError: it is something else.
    """
    return [_row(untrusted.parse(line)) for line in content.splitlines()]


def _row(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict) or not set(COLUMNS) <= set(found):
        raise ValueError(f"a row without one of {', '.join(COLUMNS)}")
    numbers = [found[name] for name in ("score", "threshold") if found[name] is not None]
    lacking = found["error"] is None and len(numbers) < 2
    if lacking or not all(isinstance(value, float) and isfinite(value) for value in numbers):
        raise ValueError("a row whose score or threshold is no number")
    texts = [found[name] for name in ("decision", "map", "error") if found[name] is not None]
    if not all(isinstance(value, str) for value in (found["path"], *texts)):
        raise ValueError("a row whose path, decision, map or error is no text")
    return {name: found[name] for name in COLUMNS}
