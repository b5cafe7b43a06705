"""Tables, the document made of them, and the list of experiments."""

import importlib
import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

import all as every
import document
import paper
import tables
import views
from wtflow_jax.config import Config, variant

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


def test_commands_of_runs():
    config = Config(preset="paper", backbone="wide_resnet50_2", width=768, epochs=100)
    config = replace(config, learning_rate=2e-4, decay_at=(0.25, 0.5, 0.75), seed=3)
    assert document.command("mvtec", config) == (
        "python experiments/mvtec.py --preset paper --backbone wide_resnet50_2 --seed 3"
    )
    given = importlib.import_module("exact_field").EXPERIMENT.given
    exact = replace(given, start=0.05, residual=True, steps_det=1, categories=("a", "b"))
    assert document.command("exact_field", exact) == (
        "python experiments/exact_field.py --categories a b"
    )


def test_verdicts():
    entry = document.Entry("I, S-VIII, S-IX", "MVTec AD", "mvtec", "why not")

    def found(rows, preset="paper"):
        config = Config(preset=preset, data="mvtec_ad", width=768)
        return document.verdict(entry, [document.Run("run", config, rows, {})])

    assert document.verdict(entry, []) == "not run: why not"
    assert found([row("bottle", 99.0)]) == "partly: bottle alone, width 768"
    names = [name for name in paper.table("S-VIII") if name != "mean"]
    close = [row(name, 99.0) | {"pixel_auroc": 98.0} for name in names]
    assert found(close) == "reproduced"
    assert found(close, "small").startswith("partly")
    assert "more than 1 points off" in found([row(name, 97.0) for name in names])


def test_a_file_that_is_no_result(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text(json.dumps({"rows": []}))
    assert document.main(add=(tmp_path / "run",)) == 1
    assert "is no results file; run its experiment again" in capsys.readouterr().err


def test_all_goes_on_after_a_failure(tmp_path, capsys, monkeypatch):
    def run(experiment, arguments):
        asked.append((experiment.name, arguments))
        return int(experiment.name == "visa")

    asked = []
    monkeypatch.setattr(every.common, "main", run)
    assert every.main(["visa", "seeds", "--out", str(tmp_path), "--", "--smoke"]) == 1
    assert asked == [
        (name, ["--out", str(tmp_path / name), "--resume", "--smoke"]) for name in ("visa", "seeds")
    ]
    assert capsys.readouterr().err.splitlines()[-1] == "error: visa failed, as told above"
    assert every.main(["vista"]) == 1
    assert "vista: no experiment; choose from mvtec, visa" in capsys.readouterr().err
