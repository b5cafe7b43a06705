"""Messages are one line, whatever the names in them are."""

import os

from wtflow_jax.support.errors import WTFlowError, shown


def test_what_is_not_printed_is_escaped():
    assert shown("a\nb\x1b[31m\u202e é") == "a\\nb\\x1b[31m\\u202e é"
    assert shown(os.fsdecode(b"\xff")) == "\\udcff"
    assert str(WTFlowError("a\r\nb")) == "a\\r\\nb"
