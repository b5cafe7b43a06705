"""wtflow predict: which images it takes."""

import shutil
from pathlib import Path

import trees
from running import table, wtflow


def test_pictures_beside_results_are_predicted(small_model, tmp_path, monkeypatch):
    """But not those that it has written."""
    for i in range(2):
        trees.write(tmp_path / f"{i}.png", trees.noisy(60 + i))
    monkeypatch.chdir(tmp_path)
    assert wtflow("predict", small_model, "1.png", "--out", "o") == 0
    shutil.copy("0.png", "o/2.png")
    assert wtflow("predict", small_model, "0.png", "o", "--out", "o", "--resume") == 0
    assert [Path(row["path"]).name for row in table(tmp_path / "o")] == [
        "1.png",
        "0.png",
        "2.png",
    ]
