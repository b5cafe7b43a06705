"""Tables, the document made of them, and the list of experiments."""

import importlib
import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import all as every
import pytest
from rich.console import Console

from wtflow_jax.data import LAYOUTS
from wtflow_jax.detector.config import Config, variant
from wtflow_jax.lab import common, document, paper, views
from wtflow_jax.support import tables

SMALL = tables.Table("Title", ["name", "first", "second"], [["a", "1.00", "2.00"]], ["Note."])


def row(category, value, variant="", seed=0, **more):
    figures = {
        f"{metric}{kind}": value + i
        for metric in ("image_auroc", "pixel_auroc")
        for i, kind in enumerate(("", "_std", "_final"))
    }
    return {"category": category, "variant": variant, "seed": seed, "loss": 1.0} | figures | more


def test_markdown():
    assert tables.markdown(SMALL) == (
        "**Title**\n\n| name | first | second |\n| --- | ---: | ---: |\n| a | 1.00 | 2.00 |"
        "\n\nNote.\n"
    )


@pytest.mark.parametrize(("width", "shown"), [(80, "second"), (22, "first")])
def test_a_narrow_terminal_shows_whole_columns(width, shown):
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    tables.show(SMALL, console)
    text = out.getvalue()
    assert shown in text
    assert ("second" in text) == (width == 80)
    assert ("1 more columns are in" in text) == (width == 22)
    assert "…" not in text


def test_seeds_and_categories():
    rows = [row("a", 90.0, seed=0), row("a", 94.0, seed=1), row("b", 50.0)]
    assert views.over_seeds(views.pick(rows, category="a"), "image_auroc") == (92.0, 2.0)
    # One seed: the std over its epochs; nothing trained: none.
    assert views.over_seeds(rows[2:], "image_auroc") == (50.0, 51.0)
    assert views.over_seeds([row("b", 50.0, loss=None)], "image_auroc") == (50.0, None)
    assert views.mean(rows, "image_auroc") == 71.0
    assert views.mean([*rows, row("c", 1.0) | {"image_auroc": None}], "image_auroc") is None


def test_ours_beside_the_papers_with_the_difference():
    rows = [row("bottle", 99.0), row("carpet", 98.0)]
    table = views.by_category(rows, "image_auroc", "t", "S-VIII", "WT-Flow (LN)")
    body = {cells[0]: dict(zip(table.columns, cells, strict=True)) for cells in table.rows}
    assert body["bottle"]["paper, WT-Flow (LN)"] == "100.00 ± 0.00"
    assert body["bottle"]["difference"] == "-1.00"
    assert body["carpet"]["difference"] == "-1.92"
    assert body["carpet"]["MSFlow"] == "97.11 ± 0.82"
    # Of these two categories, not of all fifteen.
    assert body["mean"]["paper, WT-Flow (LN)"] == "99.96"
    assert body["mean"]["difference"] == "-1.46"
    unknown = views.by_category([row("x", 1.0)], "image_auroc", "t", "S-VIII", "WT-Flow (LN)")
    assert unknown.columns == ["category", "ours", "last epoch"]


def test_variants_beside_the_papers():
    rows = [row("a", 90.0, "without"), row("a", 95.0, "WT")]
    table = views.by_variant(rows, "t", "placement", paper.auroc("XI"), ("loss",))
    cells = dict(zip(reversed(table.columns), reversed(table.rows[1]), strict=True))
    assert table.rows[1][:2] == ["WT", "95.00 ± 96.00"]
    assert table.rows[1][-4:] == ["99.05", "+4.51", "97.95", "+1.40"]
    assert cells["mean, image"] == "95.00"


@pytest.mark.parametrize("name", every.NAMES)
def test_every_experiment_has_variants_that_hold_together(name):
    experiment = importlib.import_module(name).EXPERIMENT
    assert experiment.name == name
    assert "python experiments/" in experiment.description
    for preset in ("small", "paper"):
        config = replace(experiment.given, preset=preset)
        for changes in experiment.variants(config).values():
            variant(config, **changes).check()


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("ablation_target", "VIII"),
        ("ablation_placement", "XI"),
        ("ablation_width", "IV"),
        ("backbones", "S-VII"),
    ],
)
def test_variants_bear_the_papers_names(name, number):
    variants = importlib.import_module(name).EXPERIMENT.variants(Config(preset="paper"))
    assert set(paper.table(number)["image"]) <= set(variants)


def test_the_document_is_up_to_date():
    assert document.main(check=True) == 0


def test_commands_of_runs():
    config = Config(preset="paper", backbone="wide_resnet50_2", width=768, epochs=100)
    config = replace(config, learning_rate=2e-4, decay_at=(0.25, 0.5, 0.75), seed=3)
    assert document.command("mvtec", config, "mvtec") == (
        "python experiments/mvtec.py --preset paper --backbone wide_resnet50_2 --seed 3"
    )
    given = importlib.import_module("exact_field").EXPERIMENT.given
    exact = replace(given, start=0.05, residual=True, steps_det=1, categories=("a", "b"))
    assert document.command("exact_field", exact, "exact-tire") == (
        "python experiments/exact_field.py --categories a b --out runs/exact-tire"
    )


def test_verdicts():
    entry = document.ENTRIES[0]
    names = [name for name in paper.table("S-VIII") if name != "mean"]
    paper_config = common.parse(importlib.import_module("mvtec").EXPERIMENT, ["--preset", "paper"])
    paper_config = replace(paper_config, root=Path("data"))

    def found(rows, entry=entry, **changes):
        run = document.Run("run", replace(paper_config, **changes), rows)
        return document.verdict(entry, [run])

    def flat(image, pixel=98.0, variant=""):
        return [row(name, image, variant) | {"pixel_auroc": pixel} for name in names]

    assert document.verdict(entry, []) == "not run yet"
    assert document.verdict(document.ENTRIES[1], []) == "not run: its images are not at hand"
    assert found(flat(99.0)) == "reproduced"
    assert found(flat(99.0), root=None) == "not run: the built-in category alone"
    assert found(flat(97.0)) == "run in full, up to 2.0 points off"
    assert found(flat(99.0)[:2]) == "partly: carpet, grid alone, preset paper"
    # Another setting than the paper's is no reproduction, nor is what it has no figure of.
    for change in ({"epochs": 1}, {"width": 64}, {"smoke": True}, {"preset": "small"}):
        assert found(flat(99.0), **change).startswith("partly")
    assert found(flat(99.0), wt="whiten").startswith(("partly", "run in full; see below"))
    tenth = next(e for e in document.ENTRIES if e.numbers == "X")
    assert found(flat(99.05, variant="layer_norm"), tenth) == "reproduced"
    assert found(flat(10.0, variant="layer_norm"), tenth).endswith("89.0 points off")
    seventh = next(e for e in document.ENTRIES if e.numbers == "VII")
    assert found([{"category": name, "variant": ""} for name in names], seventh) == (
        "run in full; see below"
    )


def test_a_variant_that_lacks_a_category_has_no_mean():
    rows = [row("a", 90.0, "one"), row("a", 95.0, "two"), row("b", 50.0, "one")]
    table = views.by_variant(rows, "t", "variant", {})
    assert [cells[-4:] for cells in table.rows] == [
        ["70.00", "+0.00", "70.00", "+0.00"],
        ["–", "–", "–", "–"],
    ]


def test_means_are_compared_over_the_whole_data_set_alone():
    figures = {"decision": {"why": "x"}, "seconds": {}}
    numbers = views.InPaper(means="V")
    for names, expected in ((["tubes"], 3), (list(LAYOUTS["mpdd"].published), 4)):
        rows = [row(name, 94.0, **figures) for name in names]
        shown = views.data_set(numbers, Config(data="mpdd"), rows)
        assert len(shown) == expected
    assert ["WT-Flow (LN)", "94.20", "98.30"] in shown[-1].rows
    assert shown[-1].rows[-1] == ["ours", "94.00", "94.00"]


def test_names_are_no_markup():
    out = io.StringIO()
    tables.show(tables.Table("[b]", ["a [red]"], [["[/x]"]], ["[y]"]), Console(file=out))
    assert all(text in out.getvalue() for text in ("[b]", "a [red]", "[/x]", "[y]"))


def test_no_path_of_a_machine_is_kept(tmp_path):
    config = Config(root=tmp_path, weights=str(tmp_path / "w.pth"), cache=tmp_path / "c")
    path = tmp_path / "results.json"
    as_json = json.loads(json.dumps(asdict(config), default=str))
    path.write_text(json.dumps({"experiment": "mvtec", "config": as_json, "rows": []}))
    text = document.portable(path)
    assert str(tmp_path) not in text
    path.write_text(text)
    _, run = document.read(path)
    assert (str(run.config.root), run.config.weights) == ("data", "weights")
    for kept in (document.DOCS / "results").glob("*.json"):
        assert '": "/' not in kept.read_text()


def test_a_smoke_run_is_not_documented(tmp_path, capsys):
    config = json.loads(json.dumps(asdict(Config(smoke=True)), default=str))
    (tmp_path / "results.json").write_text(
        json.dumps({"experiment": "mvtec", "config": config, "rows": []})
    )
    assert document.main(add=(tmp_path,)) == 1
    assert "a smoke run; its figures mean nothing" in capsys.readouterr().err


def test_a_file_that_is_no_result(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text(json.dumps({"rows": []}))
    assert document.main(add=(tmp_path / "run",)) == 1
    assert "is no results file; run its experiment again" in capsys.readouterr().err


def test_all_goes_on_after_a_failure(tmp_path, capsys, monkeypatch):
    def run(experiment, arguments):
        asked.append((experiment.name, arguments))
        if experiment.name == "visa":
            raise MemoryError
        return 0

    asked = []
    monkeypatch.setattr(every.common, "main", run)
    assert every.main(["visa", "seeds", "--out", str(tmp_path), "--", "--smoke"]) == 1
    assert asked == [
        (name, ["--out", str(tmp_path / name), "--resume", "--smoke"]) for name in ("visa", "seeds")
    ]
    assert capsys.readouterr().err.splitlines()[-1] == "error: visa failed, as told above"
    assert every.main(["vista"]) == 1
    assert "vista: no experiment; choose from mvtec, visa" in capsys.readouterr().err
