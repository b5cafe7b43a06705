"""Checks of users' errors: one line that says where, what, and what to do."""

import pytest

from wtflow_jax.support.errors import WTFlowError


def fails(*parts: str):
    """Expects a one-line WTFlowError that holds each of the parts."""
    lookaheads = "".join(f"(?=.*{part})" for part in parts)
    return pytest.raises(WTFlowError, match=rf"^{lookaheads}[^\n]+\Z")
