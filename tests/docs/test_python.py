"""The Python of README.md and of docs/, as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import trees

ROOT = Path(__file__).parents[2]
DOCS = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "appendix").glob("*.md")]
PAGES = [ROOT / "README.md", *sorted(DOCS)]
# Its loaders need exported models: app/test_export.py runs them; files of parts: test_extending.py.
for name in ("export", "extending"):
    PAGES.remove(ROOT / "docs" / f"{name}.md")
MARK = {True: pytest.mark.slow, False: pytest.mark.long}
BLOCKS = [
    pytest.param(block, id=f"{page.stem}-{i}", marks=MARK[page.stem == "README"])
    for page in PAGES
    for i, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S))
]


def test_there_are_some():
    written = sum(page.read_text().count("```python") for page in PAGES)
    assert len(BLOCKS) == written > 0


@pytest.mark.parametrize("block", BLOCKS)
def test_python_runs(block, tmp_path):
    trees.mvtec_ad(tmp_path / "mvtec_ad", "bottle")
    # Nothing is left in the cache of whoever runs this.
    block = block.replace("CACHE / ", "Path() / ").replace("CACHE)", "Path())")
    subprocess.run([sys.executable, "-c", block], cwd=tmp_path, check=True)


def test_the_citation_is_of_this_version():
    import wtflow_jax

    assert f"\nversion: {wtflow_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
