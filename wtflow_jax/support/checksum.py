"""Whether what is read is what was written. It finds accidents, and is no signature."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "seal"
"""Name under which a description carries its own checksum."""


def sealed(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return what can be written as JSON with a checksum of it all."""
    return {**description, SEAL: _digest(description)}


def is_whole(description: Mapping[str, Any]) -> bool:
    """Return whether a description is what was sealed."""
    return description.get(SEAL) == _digest(description)


def _digest(description: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in description.items() if name != SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
