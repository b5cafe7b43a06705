"""Tables of parts: their options, files that add to them, and names that do not exist."""

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest
from raising import fails

from wtflow_jax.support import parts
from wtflow_jax.support.parts import Parts

DROPPED = '''
"""A WT map that is kept in a file of its own."""

from dataclasses import dataclass
from wtflow_jax.flow.maps import MAPS, WTMap


@MAPS.add("{name}")
@dataclass(frozen=True)
class Shift(WTMap):
    """x0 = f + by."""

    by_{name}: float = 2.0
    """How far."""

    def apply(self, stats, features):
        return features + self.by_{name}
'''


@pytest.fixture
def table():
    found = Parts("wt_map")
    found.add("function")(abs)

    @found.add("options")
    @dataclass(frozen=True)
    class Options:
        a: int = 1
        b: str = "x"

    found.add("made")(Options(3))
    return found


def test_a_part_takes_its_options_and_leaves_those_of_others(table):
    made = table.make("options", {"a": 5, "c": 9})
    assert (made.a, made.b) == (5, "x")
    assert table.make("function", {"a": 5}) is abs
    assert table.make("made", {"b": "y"}).a == 3
    assert table.options("options") == ("a", "b")
    assert table.options("function") == ()


def test_a_table_is_a_mapping_in_the_order_of_its_entries(table):
    assert list(table) == ["function", "options", "made"]
    assert len(table) == 3
    assert table["function"] is abs
    assert "other" not in table
    table.add("function")(len)
    assert (next(iter(table)), table["function"]) == ("function", len)
    # Each is itself, and a static argument of jitted functions may hold it.
    assert table != Parts("wt_map")
    assert hash(table) == hash(table)


def test_a_name_that_does_not_exist(table):
    with fails("--wt-map other: no such choice; take one of function, options, made"):
        table.make("other")
    with pytest.raises(KeyError):
        table["other"]


@pytest.fixture
def maps(monkeypatch):
    """The table of WT maps; what a test adds is taken away again."""
    from wtflow_jax.flow.maps import MAPS

    monkeypatch.setattr(MAPS, "_entries", MAPS._entries.copy() if len(MAPS) else {})
    monkeypatch.setattr(parts, "_looked", parts._looked.copy())
    return MAPS


@pytest.mark.parametrize("in_directory", [False, True])
def test_a_file_that_the_variable_names_adds_a_part(tmp_path, maps, monkeypatch, in_directory):
    from wtflow_jax.detector.config import configure

    for name in ("shift", "other"):
        (tmp_path / f"{name}.py").write_text(DROPPED.format(name=name))
    files = [tmp_path] if in_directory else [tmp_path / "shift.py", tmp_path / "other.py"]
    monkeypatch.setenv(parts.VARIABLE, os.pathsep.join(map(str, files)))
    assert {"layer_norm", "shift", "other"} <= set(maps)
    assert maps.options("shift") == ("by_shift",)
    config = configure(wt="shift", by_shift=3.0)
    assert config.wt.apply((), 1.0) == 4.0
    assert config.flags()["by_shift"] == 3.0
    assert configure(wt="shift").wt.by_shift == 2.0
    # Looked at once: a second look is the same class.
    assert maps["shift"] is type(config.wt)


def test_a_file_that_is_not_there_fails_each_time(tmp_path, maps, monkeypatch):
    monkeypatch.setenv(parts.VARIABLE, str(tmp_path / "gone.py"))
    for _ in range(2):
        with fails("gone.py: not a Python file; correct the variable WTFLOW_PARTS"):
            list(maps)


def test_what_is_no_number_is_outside_of_every_range():
    class Part:
        RANGES: ClassVar = {"share": (0, 1)}
        share = "x"

    with fails("--share x: give at least 0 and at most 1"):
        parts.check_ranges(Part())


def test_a_part_that_is_given_itself_or_by_its_name(table):
    assert table.given(len) is len
    assert table.given("function") is abs
    assert table.given("options").a == 1
    with fails("--wt-map other: no such choice; take one of function, options, made"):
        table.given("other")


@pytest.mark.parametrize(
    "hook",
    ["", "import jaxtyping; jaxtyping.install_import_hook('wtflow_jax', 'beartype.beartype'); "],
)
def test_the_order_of_choices_does_not_depend_on_what_was_imported_first(hook):
    code = (
        f"{hook}import wtflow_jax.flow.maps.whitening; from wtflow_jax.flow.maps import MAPS; "
        "print(*MAPS)"
    )
    environment = {k: v for k, v in os.environ.items() if k != parts.VARIABLE}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert shown.stdout.split() == [b"none", b"batch_norm", b"layer_norm", b"whiten"]
