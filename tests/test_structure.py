"""Allowed imports follow from a file's place; and the cost of importing."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "wtflow_jax"
ROOMS = [
    *("support", "flow", "geometry", "metrics", "velocities", "data", "backbones"),
    *("training", "detector", "lab", "app"),
]
"""From the ground up: a folder uses itself and those before it."""
DOORS = {"__init__", "__main__", "datasets", "plan"}
"""All that stands at the top: the package's names, and what ``python -m`` runs."""
FILES = sorted(path for room in ROOMS for path in (PACKAGE / room).rglob("*.py"))


def imported(path):
    """The subpackages that a file imports from, anywhere in it; "" is the top level."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        modules = []
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import does not say the room"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            package, _, below = module.partition(".")
            if package == "wtflow_jax":
                first = below.partition(".")[0]
                found.add(first if first in ROOMS else "")
    return found


def test_every_folder_is_a_room():
    folders = {path.name for path in PACKAGE.iterdir() if list(path.glob("*.py"))}
    assert folders == set(ROOMS)
    assert {path.stem for path in PACKAGE.glob("*.py")} == DOORS


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    room = path.relative_to(PACKAGE).parts[0]
    # A subpackage may use only the version from the top level.
    used = imported(path) - {""}
    assert used <= set(ROOMS[: ROOMS.index(room) + 1]), f"{room} imports {used}"


def test_a_file_answers_one_question():
    long = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def after(code):
    """The modules that are loaded after some code, and how many devices JAX has opened."""
    script = (
        f"{code}\nimport json, sys\nbridge = sys.modules.get('jax._src.xla_bridge')\n"
        "print(json.dumps([sorted(sys.modules), len(bridge._backends) if bridge else 0]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    modules, devices = json.loads(done.stdout)
    return set(modules), devices


def test_importing_the_package_loads_nothing_else():
    modules, _ = after("import wtflow_jax, wtflow_jax.__main__")
    assert not {"jax", "numpy", "tyro", "rich"} & modules


def test_importing_its_parts_touches_no_device():
    names = "fit, load, Model, Result, configure, WTFlowError"
    modules, devices = after(f"from wtflow_jax import {names}")
    assert devices == 0
    assert not {"torch", "matplotlib", "sklearn", "tensorflow", "grain"} & modules
