"""The transcribed tables against one another; the paper's own contradictions are listed."""

import csv
from statistics import fmean

import pytest

from wtflow_jax.detector.config import configure
from wtflow_jax.lab import paper
from wtflow_jax.lab.paper import Figure, table

NUMBERS = sorted(path.stem for path in paper.DIRECTORY.glob("*.csv"))
MVTEC_AD = [
    "carpet",
    "grid",
    "leather",
    "tile",
    "wood",
    "bottle",
    "cable",
    "capsule",
    "hazelnut",
    "metal_nut",
    "pill",
    "screw",
    "toothbrush",
    "transistor",
    "zipper",
]
VISA = [
    "candle",
    "capsules",
    "cashew",
    "chewinggum",
    "fryum",
    "macaroni1",
    "macaroni2",
    "pcb1",
    "pcb2",
    "pcb3",
    "pcb4",
    "pipe_fryum",
]
STEPS = ("S-XII", "S-XIII", "S-XIV")
UNITS = {"S-VIII": 0.01, "S-IX": 0.01, "S-X": 0.01, "S-XI": 0.01, "S-XV": 0.1, "S-XVI": 0.1}
"""The last digit of the tables with a row a category and their mean."""

HEADLINE = {
    "none 768 pos": "rFM",
    "batch_norm 768 pos": "WT-Flow (BN)",
    "layer_norm 768": "WT-Flow (LN)",
}


def raw(number):
    with (paper.DIRECTORY / f"{number}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def every(name):
    """All values, or stds, by number, row and system."""
    return {
        (number, row, system): getattr(figure, name)
        for number in NUMBERS
        for row, figures in table(number).items()
        for system, figure in figures.items()
        if getattr(figure, name) is not None
    }


def test_a_cell_is_a_value_and_perhaps_a_spread():
    assert table("S-VIII")["screw"]["rFM"] == Figure(57.84, 0.52)
    assert table("IV")["pixel"]["layer_norm 768"] == Figure(97.95, None)
    assert "CSFlow" in table("I")["image"]
    assert "CSFlow" not in table("I")["pixel"]


def test_every_table_is_there():
    assert len(NUMBERS) == 21


@pytest.mark.parametrize("number", NUMBERS)
def test_tables_are_rectangular(number):
    header, *rows = raw(number)
    assert header[0] == "row"
    assert len(set(header)) == len(header)
    assert len({row[0] for row in rows}) == len(rows)
    assert {len(row) for row in rows} == {len(header)}


@pytest.mark.parametrize("number", [*UNITS, *STEPS])
def test_categories_are_the_data_sets(number):
    expected = VISA if number in ("S-X", "S-XI") else MVTEC_AD
    assert [row for row in table(number) if row != "mean"] == expected
    assert ("mean" in table(number)) == (number in UNITS)


def test_figures_are_plausible():
    for (number, row, system), value in every("value").items():
        where = (number, row, system, value)
        if number in STEPS:
            assert 20 <= value < 700, where
        elif number == "IX" or row == "loss":
            assert 0 < value < 1000, where
        else:
            assert 30 < value <= 100, where
    assert all(0 <= std < 7 for std in every("std").values())
    for row, steps in table("S-XIV").items():
        assert steps["0"].value == pytest.approx(256 if row == "transistor" else 512, rel=0.011)


@pytest.mark.parametrize("number", STEPS)
def test_norms_fall_and_then_rise(number):
    """Observation 2; a swapped digit would make a second turn."""
    for row, steps in table(number).items():
        values = [figure.value for figure in steps.values()]
        assert list(steps) == [str(step) for step in range(0, 51, 5)]
        lowest = values.index(min(values))
        assert values[: lowest + 1] == sorted(values[: lowest + 1], reverse=True), row
        assert values[lowest:] == sorted(values[lowest:]), row


def mean_rows(name, units):
    """Where the last row differs from the mean of the others: (stated, mean)."""
    found = {}
    for number, unit in units.items():
        rows = [figures for row, figures in table(number).items() if row != "mean"]
        for system, figure in table(number)["mean"].items():
            stated = getattr(figure, name)
            if stated is not None:
                mean = fmean(getattr(row[system], name) for row in rows)
                # Half a unit for each of the categories, half for the mean.
                if abs(mean - stated) > unit + 1e-9:
                    found[number, system] = (stated, round(mean, 2))
    return found


def test_last_rows_are_the_means():
    assert mean_rows("value", UNITS) == {
        ("S-IX", "CFlow"): (96.81, 96.68),
        ("S-XV", "layer_norm 512"): (98.5, 98.37),
    }


def test_their_spreads_are_the_means_of_the_spreads():
    assert mean_rows("std", dict.fromkeys(("S-VIII", "S-IX", "S-X", "S-XI"), 0.01)) == {
        ("S-XI", "FastFlow"): (0.68, 0.65),
        ("S-XI", "WT-Flow (LN)"): (0.03, 0.02),
    }


def same():
    """Pairs of (number, row, system) that state one thing, and how far rounding takes them."""
    for number, row, per_category in (
        ("I", "image", "S-VIII"),
        ("I", "pixel", "S-IX"),
        ("II", "image", "S-X"),
        ("II", "pixel", "S-XI"),
    ):
        for system in table(number)[row].keys() & table(per_category)["mean"].keys():
            yield (number, row, system), (per_category, "mean", system), 0.0
    for row, ablation, per_category in (("image", "S-XV", "S-VIII"), ("pixel", "S-XVI", "S-IX")):
        for setting in table("IV")[row]:
            yield ("IV", row, setting), (ablation, "mean", setting), 0.05
        for setting, system in HEADLINE.items():
            yield ("IV", row, setting), (per_category, "mean", system), 0.0
            for category in MVTEC_AD:
                yield (ablation, category, setting), (per_category, category, system), 0.05
        yield ("IV", row, "none 768 pos"), ("VIII", row, "gaussian none"), 0.0
        yield ("IV", row, "layer_norm 768"), ("VIII", row, "gaussian layer_norm"), 0.0
        yield ("I", row, "rFM"), ("XI", row, "without"), 0.0
        yield ("I", row, "WT-Flow (LN)"), ("XI", row, "WT"), 0.0
        for setting in ("batch_norm 768 pos", "layer_norm 768"):
            backbone = f"wide_resnet50_2 {setting.split()[0]}"
            yield ("IV", row, setting), ("S-VII", row, backbone), 0.0
    for setting in table("X")["image"]:
        yield ("IV", "image", setting), ("X", "image", setting), 0.0
    for setting, system in HEADLINE.items():
        yield ("IV", "pixel", setting), ("VII", system, "1"), 0.0


def disagreements(name):
    figures = every(name)
    return {
        (one, other): (figures[one], figures[other])
        for one, other, rounding in same()
        if one in figures and other in figures
        if abs(figures[one] - figures[other]) > rounding + 1e-9
    }


def test_what_is_stated_twice_agrees():
    # The last two: localization takes one step (V-A), and VII has that step.
    assert disagreements("value") == {
        (("IV", "image", "layer_norm 512"), ("S-XV", "mean", "layer_norm 512")): (98.36, 98.5),
        (("S-XVI", "tile", "layer_norm 768"), ("S-IX", "tile", "WT-Flow (LN)")): (96.7, 96.16),
        (
            ("IV", "pixel", "batch_norm 768 pos"),
            ("S-VII", "pixel", "wide_resnet50_2 batch_norm"),
        ): (97.64, 97.68),
        (("IV", "pixel", "none 768 pos"), ("VII", "rFM", "1")): (96.55, 86.52),
        (("IV", "pixel", "batch_norm 768 pos"), ("VII", "WT-Flow (BN)", "1")): (97.64, 97.53),
    }
    assert disagreements("std") == {
        (("I", "image", "MSFlow"), ("S-VIII", "mean", "MSFlow")): (0.2, 0.21),
        (("I", "pixel", "rFM"), ("S-IX", "mean", "rFM")): (0.04, 0.05),
        (("II", "pixel", "CFlow"), ("S-XI", "mean", "CFlow")): (0.01, 0.0),
    }


GAINS = {
    ("II", "image", "WT-Flow (LN)", "MSFlow"): 1.46,
    ("II", "pixel", "WT-Flow (LN)", "MSFlow"): 1.11,
    ("III", "image", "WT-Flow (LN)", "EfficientAD"): 0.2,
    ("III", "image", "WT-Flow (LN)", "MSFlow"): 5.6,
    ("III", "image", "WT-Flow (LN)", "rFM"): 12.4,
    ("IV", "image", "none 768", "none 128"): 21.7,
    ("IV", "pixel", "none 768", "none 128"): 6.9,
}
"""What V-C, V-D and V-F say the one is above the other."""


def test_gains_in_the_text():
    differ = {}
    for (number, row, better, worse), stated in GAINS.items():
        gain = table(number)[row][better].value - table(number)[row][worse].value
        if abs(gain - stated) > 0.05:
            differ[number, worse] = (stated, round(gain, 2))
    assert differ == {("III", "MSFlow"): (5.6, 6.1), ("III", "rFM"): (12.4, 18.0)}


def test_rates_include_the_backbone():
    """Table IX's images a second from its latency and the backbone's 6.5 ms, but for one."""
    backbone, rounding = 6.5, 0.1
    differ = {}
    for system, latency in table("IX")["latency ms"].items():
        low, high = (1000 / (latency.value + backbone + e) for e in (rounding, -rounding))
        stated = table("IX")["FPS"][system].value
        if not low - 0.05 <= stated <= high + 0.05:
            differ[system] = (stated, round(1000 / (latency.value + backbone), 1))
    assert differ == {"CFlow": (20.6, 18.1)}


def test_settings_are_fields_of_a_config():
    categories = {"mvtec_ad": MVTEC_AD, "visa": VISA}
    for (dataset, category), settings in paper.SETTINGS.items():
        assert category in categories[dataset]
        assert settings
        configure(backbone="wide_resnet50_2", **settings).check()
