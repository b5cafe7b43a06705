"""``wtflow evaluate``: every metric of labelled images that a model was not fitted on."""

import json
import shutil

import numpy as np
import pytest
import trees
from running import one_line, table, wtflow
from sklearn.metrics import average_precision_score, roc_auc_score

from wtflow_jax.app import fit
from wtflow_jax.lab import scored


@pytest.fixture
def good(small_model):
    """The images the model was fitted on."""
    return small_model.parent / "good"


def test_metrics_are_of_what_it_was_not_fitted_on(small_model, good, tmp_path, capsys):
    root = tmp_path / "labelled"
    mask = np.zeros((trees.SIDE, trees.SIDE), bool)
    mask[10:40, 20:50] = True
    for i in range(3):
        trees.write(root / "good" / f"new{i}.png", trees.noisy(100 + i))
        trees.write(root / "bright" / f"{i}.png", trees.noisy(200 + i, defect=True))
        trees.write(root / "masks" / "bright" / f"{i}.png", mask)
    trees.write(root / "unmarked" / "0.png", trees.noisy(204, defect=True))
    # The same image under another name.
    shutil.copy(good / "3.png", root / "good" / "seen.png")
    out = tmp_path / "measured"
    assert wtflow("evaluate", small_model, root, "--out", out) == 0
    told = capsys.readouterr().out
    assert "left out, as the model was fitted on them: 1" in told
    results = json.loads((out / "results.json").read_text())
    (row,) = results["rows"]
    tested = scored.load(out / row["scores"])
    assert not any("seen" in path for path in tested.paths)
    assert (len(tested.labels), tested.labels.sum(), tested.known.sum()) == (7, 4, 6)
    assert row["image_auroc"] == 100 * roc_auc_score(tested.labels, tested.scores)
    assert row["image_ap"] == pytest.approx(
        100 * average_precision_score(tested.labels, tested.scores)
    )
    known = tested.known
    assert row["pixel_auroc"] == pytest.approx(
        100 * roc_auc_score(tested.masks[known].ravel(), tested.maps[known].ravel())
    )
    assert "defective images without a mask: 1, the first is" in row["undefined"][-1]
    assert row["decision"]["detected"] == 100
    assert tested.radii.values.shape == (7, 21)
    # The scores equal those of predict.
    assert wtflow("predict", small_model, root / "bright", "--out", tmp_path / "found") == 0
    by_path = dict(zip(tested.paths, tested.scores, strict=True))
    for line in table(tmp_path / "found"):
        assert float(line["score"]) == pytest.approx(by_path[line["path"]], rel=1e-6)


def test_what_is_wrong_is_one_line(small_model, good, tmp_path, capsys):
    trees.write(tmp_path / "full" / "a.png", trees.noisy(1))
    shutil.copytree(good, tmp_path / "same" / "good")
    trees.mvtec_ad(tmp_path / "two", "bolt")
    trees.mvtec_ad(tmp_path / "two", "nut")
    published = "--out", tmp_path / "a", "--data", "mvtec_ad"
    for arguments, words in (
        ((tmp_path / "same", "--out", tmp_path / "a"), "the model was fitted on this and all"),
        ((tmp_path / "same", "--out", tmp_path / "full"), "is not empty; give another --out"),
        ((tmp_path / "no", "--out", tmp_path / "a"), "no: nothing there: give the data set"),
        ((tmp_path / "same", "--out", tmp_path / "a", "--data", "mvtc"), "no such choice"),
        ((tmp_path / "two", *published), "two: has 2 categories; give --category bolt"),
        ((tmp_path / "two", *published, "--category", "c"), "no such category: choose one of bolt"),
    ):
        assert wtflow("evaluate", small_model, *arguments) == 1
        assert words in one_line(capsys.readouterr().err)
    assert not (tmp_path / "a").exists()


def bad_image(root):
    (root / "good" / "z.png").write_bytes(b"")


def bad_mask(root):
    (root / "masks" / "dent" / "0.png").write_bytes(b"")


def other_size(root):
    trees.write(root / "masks" / "dent" / "0.png", np.ones((5, 7), bool))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(bad_image, "z.png: cannot"), (bad_mask, "0.png: cannot"), (other_size, "5x7 pixels")],
)
def test_files_that_cannot_be_used_are_one_line(spoil, words, small_model, tmp_path, capsys):
    root = tmp_path / "in"
    trees.write(root / "good" / "0.png", trees.noisy(60))
    image, mask = trees.defect(0)
    trees.write(root / "dent" / "0.png", image)
    trees.write(root / "masks" / "dent" / "0.png", mask)
    spoil(root)
    assert wtflow("evaluate", small_model, root, "--out", tmp_path / "out") == 1
    assert words in one_line(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_one_kind_alone_has_scores_and_no_metrics(small_model, tmp_path, capsys):
    trees.write(tmp_path / "in" / "good" / "0.png", trees.noisy(60))
    assert wtflow("evaluate", small_model, tmp_path / "in", "--out", tmp_path / "out") == 0
    assert "no defective test image" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert row["image_auroc"] is None
    assert row["decision"]["detected"] is None


def test_scores_without_results_are_of_a_run_that_was_killed(small_model, tmp_path, capsys):
    trees.write(tmp_path / "in" / "good" / "new.png", trees.noisy(60))
    trees.write(tmp_path / "in" / "dent" / "0.png", trees.noisy(61, defect=True))
    arguments = "evaluate", small_model, tmp_path / "in", "--out", tmp_path / "out"
    assert wtflow(*arguments) == 0
    assert wtflow(*arguments) == 1
    for path in (tmp_path / "out").iterdir():
        if path.is_file():
            path.unlink()
    assert wtflow(*arguments) == 0
    (tmp_path / "out" / "results.json").rename(tmp_path / "out" / "other.json")
    assert wtflow(*arguments) == 1
    assert "is not empty" in capsys.readouterr().err


def test_images_of_several_sizes_are_compared_at_that_of_the_first(small_model, tmp_path):
    root = tmp_path / "in"
    trees.write(root / "good" / "0.png", trees.noisy(60))
    trees.write(root / "good" / "1.png", trees.noisy(61, height=100))
    mask = np.zeros((100, 64), bool)
    mask[10:40, 20:50] = True
    trees.write(root / "dent" / "0.png", trees.noisy(62, defect=True, height=100))
    trees.write(root / "masks" / "dent" / "0.png", mask)
    assert wtflow("evaluate", small_model, root, "--out", tmp_path / "out") == 0
    found = scored.load(next((tmp_path / "out").rglob("scores.npz")))
    assert found.maps.shape == found.masks.shape == (3, 64, 64)
    assert (found.masks.any(axis=(1, 2)) == found.labels).all()
    assert found.masks[found.labels].mean() == pytest.approx(mask.mean(), rel=0.1)


@pytest.mark.long
def test_parts_are_counted_as_parts(tmp_path, capsys):
    images = [trees.noisy(i) for i in range(6)]
    fit.fit(images, group=[0, 0, 1, 1, 2, 2], image_size="64").save(tmp_path / "model")
    trees.write(tmp_path / "in" / "good" / "0.png", trees.noisy(60))
    assert wtflow("evaluate", tmp_path / "model", tmp_path / "in", "--out", tmp_path / "out") == 0
    assert "25.0 %, by 3 good parts" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert row["decision"]["counted"] == "parts"
