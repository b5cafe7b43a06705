"""Categories of every data set from files to tables, on tiny trees, with the exact field."""

import json
import shutil

import numpy as np
import pytest
import trees
from running import load, rows
from running import run as start

from wtflow_jax.data.sample import Category, Sample
from wtflow_jax.lab import category


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def run(name, root, tmp_path, cache, *flags):
    """Return the rows of an experiment, run in this process, and its Markdown."""
    out = tmp_path / name
    where = ["--root", root, "--out", out, "--models", tmp_path / "models", "--cache", cache]
    quick = ["--velocity", "exact", "--image-size", "64", *flags]
    assert start(name, *where, *quick) == 0
    return rows(out), (out / "table.md").read_text()


@pytest.mark.parametrize(
    ("name", "make", "categories"),
    [
        pytest.param("mpdd", trees.mvtec_ad, ["part"], marks=pytest.mark.long),
        ("mvtec3d", trees.mvtec_3d, ["part3d"]),
        pytest.param("visa", trees.visa, ["candle", "pcb1"], marks=pytest.mark.long),
        pytest.param("btad", trees.btad, ["01", "02", "03"], marks=pytest.mark.long),
        pytest.param("mtd", trees.mtd, ["mtd"], marks=pytest.mark.long),
    ],
)
def test_a_data_set_is_scored(name, make, categories, tmp_path, cache):
    make(tmp_path / "data")
    rows, text = run(name, tmp_path / "data", tmp_path, cache)
    assert [row["category"] for row in rows] == categories
    for row in rows:
        # So few good pixels have no rate of 1e-5.
        assert [reason.split()[0] for reason in row["undefined"]] == ["AUPIMO"]
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
    assert told == "no defective test image: scores and maps are written, but no metrics"
    assert row["decision"]["detected"] is None
    assert row["decision"]["false_alarms"] is not None
    arrays = np.load(tmp_path / "folder" / "data" / "scores.npz")
    assert np.isfinite(arrays["score"]).all()
    assert (tmp_path / "folder" / "data" / "maps.png").exists()
    assert "AUROC" not in text
    assert f"| data | {row['decision']['threshold']:.4f} |" in text


@pytest.mark.slow
def test_a_defect_that_nobody_has_drawn_leaves_its_pixels_out(tmp_path, cache):
    root = trees.folder(tmp_path / "data")
    (some,), _ = run("folder", root, tmp_path / "some", cache)
    _, told = some["undefined"]
    assert "defective images without a mask: 2, the first is" in told
    assert "dent/a.TIF; pixel metrics leave them out" in told
    shutil.rmtree(root / "dent")
    (root / "scratch" / "left" / "2.jpg").unlink()
    (drawn,), _ = run("folder", root, tmp_path / "drawn", cache)
    assert [reason.split()[0] for reason in drawn["undefined"]] == ["AUPIMO"]
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
    assert start("folder", *where) == 1
    assert "has 1 images to train on and 0 to test" in capsys.readouterr().err


def test_the_papers_settings_of_a_category(tmp_path):
    image = trees.write(tmp_path / "0.png", trees.picture(0))

    def found(name, one, *flags):
        setup, sample = load(name).parse(flags), Sample(image, 0, "good")
        opened = Category(one, (sample,), (sample,))
        return category.with_settings(setup.config(), setup.data, opened), setup.config()

    paper = "--preset", "paper"
    assert found("mvtec", "transistor", *paper)[0].features.image_size == "256"
    own, usual = found("mvtec", "bottle", *paper)
    assert own == usual
    asked, _ = found("mvtec", "transistor", *paper, "--image-size", "320")
    assert asked.features.image_size == "320"
    own, usual = found("mvtec", "transistor", "--preset", "fine")
    assert own == usual
    assert found("visa", "macaroni2", "--backbone", "resnet18")[0].features.layer == ("layer2",)
    assert found("visa", "macaroni2")[0].features.layer == ()
    assert (
        found("mvtec", "transistor", *paper, "--data", "tfds:mvtec_ad")[0].features.image_size
        == "256"
    )


def test_long_images_keep_their_aspect_where_nothing_is_the_papers(tmp_path):
    image = trees.write(tmp_path / "0.png", trees.picture(0, 64, 192))
    sample = Sample(image, 0, "good")

    def size(*flags):
        setup = load("mvtec").parse(flags)
        opened = Category("long", (sample,), (sample,))
        return category.with_settings(setup.config(), setup.data, opened).features.size

    assert size("--preset", "auto") == (288, 896)
    assert size("--preset", "auto", "--image-size", "256x256") == (256, 256)
    assert size("--preset", "small") == (512, 512)
