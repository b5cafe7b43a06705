"""Every data set's experiment from files to tables, on tiny trees, with the exact field."""

import importlib
import json
import shutil

import numpy as np
import pytest
import trees

from wtflow_jax.lab import categories, common


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def run(name, root, tmp_path, cache, *flags):
    """Return the rows of an experiment, run in this process, and its Markdown."""
    out = tmp_path / name
    where = ["--root", root, "--out", out, "--models", tmp_path / "models", "--cache", cache]
    quick = ["--velocity", "exact", "--image-size", "64", *flags]
    experiment = importlib.import_module(name).EXPERIMENT
    assert common.main(experiment, [*map(str, where), *quick]) == 0
    return json.loads((out / "results.json").read_text())["rows"], (out / "table.md").read_text()


@pytest.mark.parametrize(
    ("name", "make", "categories"),
    [
        ("mpdd", trees.mvtec_ad, ["part"]),
        ("mvtec3d", trees.mvtec_3d, ["part3d"]),
        ("visa", trees.visa, ["candle", "pcb1"]),
        ("btad", trees.btad, ["01", "02", "03"]),
        ("mtd", trees.mtd, ["mtd"]),
    ],
)
def test_a_data_set_is_scored(name, make, categories, tmp_path, cache):
    make(tmp_path / "data")
    rows, text = run(name, tmp_path / "data", tmp_path, cache)
    assert [row["category"] for row in rows] == categories
    for row in rows:
        assert row["undefined"] == []
        for metric in ("image_auroc", "image_ap", "pixel_auroc", "pixel_aupro"):
            assert 0 <= row[metric] <= 100
        assert f"| {row['category']} |" in text


def test_loco_has_kinds_saturated_overlap_and_a_threshold_of_its_validation(tmp_path, cache):
    trees.mvtec_loco(tmp_path / "data")
    (row,), text = run("loco", tmp_path / "data", tmp_path, cache)
    assert 0 <= row["pixel_spro"] <= 100
    for kind in ("logical_anomalies", "structural_anomalies"):
        assert 0 <= row[f"image_auroc {kind}"] <= 100
    assert "logical_anomalies | structural_anomalies" in text
    assert row["decision"]["images"] > 0
    assert row["decision"]["threshold"] is not None


def test_good_images_alone_are_enough(tmp_path, cache):
    for i in range(12):
        trees.write(tmp_path / "data" / f"{i}.png", trees.picture(i))
    (row,), text = run("folder", tmp_path / "data", tmp_path, cache, "--validation", "0.3")
    assert row["image_auroc"] is None
    (told,) = row["undefined"]
    assert told == "no defective test image: there are scores and maps, and no metrics"
    assert row["decision"]["detected"] is None
    assert row["decision"]["false_alarms"] is not None
    arrays = np.load(tmp_path / "folder" / "data" / "scores.npz")
    assert np.isfinite(arrays["score"]).all()
    assert (tmp_path / "folder" / "data" / "maps.png").exists()
    assert "AUROC" not in text
    assert f"| data | {row['decision']['threshold']:.4f} |" in text


def test_a_defect_that_nobody_has_drawn_leaves_its_pixels_out(tmp_path, cache):
    root = trees.folder(tmp_path / "data")
    (some,), _ = run("folder", root, tmp_path / "some", cache)
    (told,) = some["undefined"]
    assert "pixels of 2 defective images are not known, the first is" in told
    assert "dent/a.TIF: it has no mask, and they are left out" in told
    shutil.rmtree(root / "dent")
    (root / "scratch" / "left" / "2.jpg").unlink()
    (drawn,), _ = run("folder", root, tmp_path / "drawn", cache)
    assert drawn["undefined"] == []
    for metric in ("pixel_auroc", "pixel_ap", "pixel_f1", "pixel_aupro"):
        assert 0 <= some[metric] == pytest.approx(drawn[metric], abs=1e-4)
    shutil.rmtree(root / "masks")
    (none,), _ = run("folder", root, tmp_path / "none", cache)
    assert 0 <= none["image_auroc"] <= 100
    assert none["pixel_auroc"] is none["pixel_aupro"] is None


def test_rows_of_other_code_are_measured_anew(tmp_path, cache):
    trees.mvtec_ad(tmp_path / "data")
    (row,), _ = run("mpdd", tmp_path / "data", tmp_path, cache)
    path = tmp_path / "mpdd" / "results.json"
    results = json.loads(path.read_text())
    results["rows"][0] |= {"image_auroc": -1.0}
    path.write_text(json.dumps(results))
    assert run("mpdd", tmp_path / "data", tmp_path, cache, "--resume")[0][0]["image_auroc"] == -1.0
    for key, other in (("code", "other"), ("settings", {"wt": "none"}), ("variant", "gone")):
        changed = results | {"rows": [results["rows"][0] | {key: other}]}
        path.write_text(json.dumps(changed))
        (again,), _ = run("mpdd", tmp_path / "data", tmp_path, cache, "--resume")
        assert again == row


def test_one_image_is_too_few(tmp_path, cache, capsys):
    trees.write(tmp_path / "data" / "0.png", trees.picture(0))
    where = "--root", tmp_path / "data", "--out", tmp_path / "out", "--cache", cache
    assert common.main(importlib.import_module("folder").EXPERIMENT, [*map(str, where)]) == 1
    assert "has 1 images to train on and 0 to test" in capsys.readouterr().err


def test_half_a_data_set_is_told_of(tmp_path, cache, capsys):
    trees.mvtec_ad(tmp_path / "data", "connector")
    run("mpdd", tmp_path / "data", tmp_path, cache)
    assert (
        "connector: 4 + 2 + 2 images (train + good + defective), published are 128 + 30 + 14: "
        "see python -m wtflow_jax.datasets check mpdd "
        f"{tmp_path / 'data'}\n"
    ) in capsys.readouterr().err


def test_the_papers_settings_of_a_category(tmp_path):
    mvtec, visa = (importlib.import_module(name).EXPERIMENT for name in ("mvtec", "visa"))
    paper = common.parse(mvtec, ["--preset", "paper"])
    assert categories.with_settings(paper, "transistor").image_size == "256"
    assert categories.with_settings(paper, "bottle") == paper
    asked = common.parse(mvtec, ["--preset", "paper", "--image-size", "320"])
    assert categories.with_settings(asked, "transistor").image_size == "320"
    fine = common.parse(mvtec, ["--preset", "fine"])
    assert categories.with_settings(fine, "transistor") == fine
    resnet = common.parse(visa, ["--backbone", "resnet18"])
    assert categories.with_settings(resnet, "macaroni2").layer == ("layer2",)
    assert categories.with_settings(common.parse(visa, []), "macaroni2").layer == ()
