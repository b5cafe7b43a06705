"""The document of results: runs, their commands, and whether the paper is reproduced."""

import importlib.util
import json
from pathlib import Path

import pytest
from raising import fails
from running import load

from wtflow_jax.lab import flags, paper

FILE = Path(__file__).parents[2] / "docs" / "document.py"
spec = importlib.util.spec_from_file_location("document", FILE)
document = importlib.util.module_from_spec(spec)
spec.loader.exec_module(document)

PAPERS = {"preset": "paper", "root": Path("data")}
NAMES = [name for name in paper.table("S-VIII") if name != "mean"]


def rows(image, pixel=98.0, variant=""):
    """A row a category of MVTec AD."""
    figures = {"image_auroc": image, "pixel_auroc": pixel, "seed": 0, "loss": 1.0}
    return [figures | {"category": name, "variant": variant} for name in NAMES]


def entry(numbers):
    (found,) = [one for one in document.ENTRIES if one.numbers == numbers]
    return found


def verdict(rows, entry=document.ENTRIES[0], **changes):
    return document.verdict(entry, [document.Run("run", flags.setup(PAPERS | changes), rows)])


def test_the_document_is_up_to_date():
    assert document.main(check=True) == 0


def test_commands_of_runs():
    mvtec = load("mvtec")
    setup = flags.setup({**mvtec.given, "preset": "paper", "seed": 3})
    assert document.command(mvtec, setup, "mvtec") == (
        "python experiments/mvtec.py --preset paper --backbone wide_resnet50_2 --seed 3"
    )
    exact = load("exact_field")
    setup = flags.setup({**exact.given, "categories": ("a", "b")})
    assert document.command(exact, setup, "exact-tire") == (
        "python experiments/exact_field.py --categories a b --out runs/exact-tire"
    )


def test_what_was_not_run():
    assert document.verdict(document.ENTRIES[0], []) == "not run yet"
    assert document.verdict(document.ENTRIES[1], []) == "not run: its images are not at hand"
    assert verdict(rows(99.0), root=None) == "not run: the built-in category alone"


def test_what_was_reproduced():
    assert verdict(rows(99.0)) == "reproduced"
    assert verdict(rows(97.0)) == "run in full, up to 2.0 points off"
    assert verdict(rows(99.0)[:2]) == "partly: carpet, grid alone, preset paper"
    assert verdict(rows(99.05, variant="layer_norm"), entry("X")) == "reproduced"
    assert verdict(rows(10.0, variant="layer_norm"), entry("X")).endswith("89.0 points off")
    unmeasured = [{"category": name, "variant": ""} for name in NAMES]
    assert verdict(unmeasured, entry("VII")) == "run in full; see below"


@pytest.mark.parametrize(
    "changes", [{"epochs": 1}, {"width": 64}, {"smoke": True}, {"preset": "small"}], ids=str
)
def test_another_setting_than_the_papers_is_no_reproduction(changes):
    assert verdict(rows(99.0), **changes).startswith("partly")


def test_what_the_paper_has_no_figure_of_is_none_either():
    assert verdict(rows(99.0), wt="whiten").startswith(("partly", "run in full; see below"))


def results(path, **given):
    """A results file of a run without rows."""
    config = json.loads(json.dumps(flags.setup(given).flags(), default=str))
    found = {"experiment": "mvtec", "config": config, "rows": [], "tables": []}
    path.write_text(json.dumps(found))
    return path


def test_no_path_of_a_machine_is_kept(tmp_path):
    where = {"root": tmp_path, "weights": str(tmp_path / "w.pth"), "cache": tmp_path / "c"}
    path = results(tmp_path / "results.json", **where)
    text = document.portable(path)
    assert str(tmp_path) not in text
    path.write_text(text)
    _, run = document.read(path)
    assert (str(run.setup.data.root), run.setup.data.weights) == ("data", "weights")
    for kept in (document.DOCS / "results").glob("*.json"):
        assert '": "/' not in kept.read_text()


def test_a_smoke_run_is_not_documented(tmp_path):
    results(tmp_path / "results.json", smoke=True)
    with fails("a smoke run; its figures mean nothing"):
        document.main(add=(tmp_path,))


def test_a_file_that_is_no_result(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"rows": []}))
    with fails("results.json"):
        document.main(add=(tmp_path,))
