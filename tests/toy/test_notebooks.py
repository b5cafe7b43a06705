"""The notebooks run from top to bottom, and the executed ones are those scripts."""

import json
import runpy
import sys
from pathlib import Path

import jupytext
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "toy" / "notebooks"
SCRIPTS = sorted(NOTEBOOKS.glob("*.py"))


SHORT = ("coupling",)
"""Notebooks enough to see that they find toy/ and the package; the others are ``long``."""
MARK = {True: pytest.mark.slow, False: pytest.mark.long}
EACH = [pytest.param(s, marks=MARK[s.stem in SHORT], id=s.stem) for s in SCRIPTS]


@pytest.mark.parametrize("script", EACH)
def test_it_runs(script, monkeypatch, capsys):
    # It finds toy/ by itself.
    toy = NOTEBOOKS.parent
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(toy)])
    for module in toy.glob("*.py"):
        monkeypatch.delitem(sys.modules, module.stem, raising=False)
    monkeypatch.chdir(NOTEBOOKS)
    monkeypatch.setenv("WTFLOW_SMOKE", "1")
    runpy.run_path(script.name, run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) > 1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_executed_notebook_is_the_script(script):
    notebook = json.loads(script.with_suffix(".ipynb").read_text())
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    expected = [(cell.cell_type, cell.source) for cell in jupytext.read(script).cells]
    assert cells == expected
    outputs = [o for cell in notebook["cells"] for o in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output["output_type"] == "error" for output in outputs)
