"""How the parts may depend on each other, and what importing them costs."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "wtflow_jax"
LEVELS = [
    {
        "errors",
        "untrusted",
        "types",
        "signals",
        "command",
        "checksum",
        "compilation",
        "atomic",
        "progress",
        "threads",
        "tables",
        "environment",
        "memory",
    },
    {
        "whitening",
        "transport",
        "targets",
        "paths",
        "loss",
        "ode",
        "scores",
        "metrics",
        "decision",
        "geometry",
        "schedule",
    },
    {"config", "unet", "exact", "datasets", "stream", "sharding", "plan"},
    {"backbones"},
    {"patch"},
    {"train"},
    {"checkpoint"},
    {"detector"},
    {"inference"},
    {"pipeline", "report", "framing", "files", "figures"},
    {"model"},
    {"fitting", "predicting", "export"},
    {"writing", "evaluating", "estimator"},
    {"cli"},
    {"__main__"},
]


def imported(path):
    """Names of this package's top-level modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "wtflow_jax":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wtflow_jax."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("wtflow_jax.")}
    return found


def module_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def level(module):
    (number,) = [i for i, modules in enumerate(LEVELS) if module in modules]
    return number


FILES = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    for name in imported(path) - {module_of(path)}:
        assert level(name) <= level(module_of(path)), f"{module_of(path)} imports {name}"


@pytest.mark.parametrize(
    "code", ["import wtflow_jax", "from wtflow_jax import detector, ode, scores, loss, datasets"]
)
def test_importing_touches_no_device(code):
    script = (
        f"{code}\nimport json, sys\n"
        "bridge = sys.modules.get('jax._src.xla_bridge')\n"
        "print(json.dumps({'backends': len(bridge._backends) if bridge else 0,"
        " 'modules': sorted(sys.modules)}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["backends"] == 0
    assert not {"torch", "matplotlib", "sklearn", "tensorflow"} & set(found["modules"])
    if code == "import wtflow_jax":
        assert "jax" not in found["modules"]
