"""The README's Python, as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import trees

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_there_are_some():
    assert len(BLOCKS) == 2


@pytest.mark.parametrize("block", BLOCKS, ids=["pipeline", "parts"])
def test_python_runs(block, tmp_path):
    trees.mvtec_ad(tmp_path / "mvtec_ad", "bottle")
    block = block.replace("CACHE / ", "Path() / ").replace("CACHE)", "Path())")
    subprocess.run([sys.executable, "-c", block], cwd=tmp_path, check=True)
