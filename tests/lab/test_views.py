"""Rows as tables, the paper's figures beside ours, and variants that bear the paper's names."""

import pytest
from running import EXPERIMENTS, load

from wtflow_jax.data import LAYOUTS
from wtflow_jax.lab import experiment, flags, paper, views


def row(category, value, variant="", seed=0, **more):
    figures = {
        f"{metric}{kind}": value + i
        for metric in ("image_auroc", "pixel_auroc")
        for i, kind in enumerate(("", "_std", "_final"))
    }
    return {"category": category, "variant": variant, "seed": seed, "loss": 1.0} | figures | more


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


def test_a_variant_that_lacks_a_category_has_no_mean():
    rows = [row("a", 90.0, "one"), row("a", 95.0, "two"), row("b", 50.0, "one")]
    table = views.by_variant(rows, "t", "variant", {})
    assert [cells[-4:] for cells in table.rows] == [
        ["70.00", "+0.00", "70.00", "+0.00"],
        ["–", "–", "–", "–"],
    ]


def test_means_are_compared_over_the_whole_data_set_alone():
    figures = {"decision": {"why": "x"}, "seconds": {}}
    for names, expected in ((["tubes"], 3), (list(LAYOUTS["mpdd"].published), 4)):
        rows = [row(name, 94.0, **figures) for name in names]
        shown = views.data_set("V", None, None, flags.setup({"data": "mpdd"}), rows)
        assert len(shown) == expected
    assert ["WT-Flow (LN)", "94.20", "98.30"] in shown[-1].rows
    assert shown[-1].rows[-1] == ["ours", "94.00", "94.00"]


@pytest.mark.parametrize("name", experiment.names(EXPERIMENTS))
def test_every_experiment_has_variants_that_hold_together(name):
    found = load(name)
    assert found.name == name
    assert "python experiments/" in found.description
    for preset in ("small", "paper"):
        setup = flags.setup({**found.given, "preset": preset})
        for changes in found.variants(setup).values():
            setup.config(**changes).check()


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
    variants = load(name).variants(flags.setup({"preset": "paper"}))
    assert set(paper.table(number)["image"]) <= set(variants)


def test_a_narrow_table_has_both_aurocs_in_one_column():
    rows = [row(name, 90.0, variant, loss=1.0) for name in "ab" for variant in ("x", "y")]
    wide = views.by_variant(rows, "AUROC in %", "map", {"x": (80.0, None)}, ("loss",))
    found = views.narrow(wide)
    assert found.title == "Image / pixel AUROC in %"
    assert found.columns == ("map", "a", "a, loss", "b", "b, loss", "mean", "paper")
    assert [cells[-1] for cells in found.rows] == ["80.00 / –", "–"]
    assert not any("±" in cell for cells in found.rows for cell in cells)


def test_a_table_that_is_too_wide_is_in_parts():
    heading, wide = list("abcdefgh"), ["name", *(f"{i:020d}" for i in range(7))]
    table = views.Table("t", heading, [wide], ["note"])
    first, last = views.parts(table)
    assert first.columns == tuple(heading[:5])
    assert last.columns == ("a", *heading[5:])
    assert (first.notes, last.notes) == ((), ["note"])
    (whole,) = views.parts(table._replace(columns=wide, rows=[heading]))
    assert whole.columns == tuple(wide)


def test_a_wide_table_of_few_rows_is_turned_and_has_no_empty_column():
    heading = [f"c{i}" for i in range(10)]
    found = views.upright(views.Table("t", heading, [["name", "–", *"12345678"]], ["note"]))
    assert found.columns == ("c0", "name")
    assert found.rows[0] == ("c2", "1")
    assert len(found.rows) == 8
    assert found.notes == ["note"]
