"""Objects in every orientation: fit turns them; outputs keep the images' frame."""

import json
from dataclasses import replace

import numpy as np
import pytest
import trees
from objects import hammer
from PIL import Image
from running import one_line, rows, run, wtflow

from wtflow_jax.data import framing
from wtflow_jax.data.turning import LEAST
from wtflow_jax.detector import model

pytestmark = pytest.mark.long

SIDE = 160
ANGLES = 6


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Good hammers in every orientation, new ones, ones with a bright spot; and a model."""
    place, rng = tmp_path_factory.mktemp("hammers"), np.random.default_rng(0)
    for i in range(2 * LEAST):
        trees.write(place / "good" / f"{i}.png", hammer(rng, rng.uniform(0, 2 * np.pi)))
    for i in range(ANGLES):
        angle = 2 * np.pi * (i + 0.3) / ANGLES
        # The same noise at the same place: only the defect differs.
        whole, bad = (hammer(np.random.default_rng(i), angle, spot=s) for s in (False, True))
        trees.write(place / "labelled" / "good" / f"{i}.png", whole)
        trees.write(place / "labelled" / "spot" / f"{i}.png", bad)
        mask = np.abs(whole[..., 0].astype(int) - bad[..., 0]) > 60
        trees.write(place / "labelled" / "masks" / "spot" / f"{i}.png", mask)
    assert wtflow("fit", place / "good", "--out", place / "model", "--image-size", str(SIDE)) == 0
    return place


def test_a_model_says_that_it_turns_images(place, capsys):
    assert wtflow("info", place / "model") == 0
    line = "images are turned by their principal axis: of 16 good images 100% show a long object"
    assert line in capsys.readouterr().out
    loaded = model.load(place / "model")
    assert loaded.config.features.pose == "auto"
    assert loaded.framing.pose == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("flags", [("--pose", "off"), ("--overlap", "0")])
def test_off_and_windows_leave_images_as_they_are(flags, place, tmp_path, capsys):
    asked = "fit", place / "good", "--out", tmp_path / "model", "--image-size", str(SIDE)
    assert wtflow(*asked, *flags) == 0
    assert "turned" not in capsys.readouterr().out
    assert model.load(tmp_path / "model").framing.pose is None


def test_maps_and_pictures_are_in_the_frame_of_the_image(place):
    loaded = model.load(place / "model")
    paths = sorted((place / "labelled" / "spot").iterdir())
    for path, found in zip(paths, loaded.predict(paths), strict=True):
        assert found.map.shape == (SIDE, SIDE)
        np.testing.assert_array_equal(found.pixels, np.asarray(Image.open(path)))
        mask = np.asarray(Image.open(place / "labelled" / "masks" / "spot" / path.name)) > 0
        highest = np.unravel_index(found.map.argmax(), found.map.shape)
        # A cell is 32 pixels wide.
        assert np.abs(np.argwhere(mask) - highest).max(axis=1).min() <= 32, path


def test_metrics_are_of_masks_as_they_are(place, tmp_path):
    assert wtflow("evaluate", place / "model", place / "labelled", "--out", tmp_path / "run") == 0
    (row,) = rows(tmp_path / "run")
    assert row["image_auroc"] > 95
    assert row["pixel_auroc"] > 90


def test_experiments_turn_images_where_they_are_asked_to(place, tmp_path):
    """With maps in the frame of the masks, and features that are kept beside the others."""
    data, masks = tmp_path / "data" / "hammer", place / "labelled" / "masks" / "spot"
    (data / "train").mkdir(parents=True)
    (data / "train" / "good").symlink_to(place / "good")
    (data / "test").mkdir()
    for kind in ("good", "spot"):
        (data / "test" / kind).symlink_to(place / "labelled" / kind)
    for path in masks.iterdir():
        mask = np.asarray(Image.open(path)) > 0
        trees.write(data / "ground_truth" / "spot" / f"{path.stem}_mask.png", mask)
    where = ["--root", data.parent, "--cache", tmp_path / "cache", "--models", tmp_path / "models"]
    asked = [*where, "--image-size", str(SIDE), "--validation", "0.2"]
    found = {}
    for pose in ("off", "auto"):
        assert run("exact_field", *asked, "--out", tmp_path / pose, "--pose", pose) == 0
        (found[pose],) = rows(tmp_path / pose)
        text = (tmp_path / pose / "table.md").read_text()
        assert ("turned by their principal axis: hammer." in text) is (pose == "auto")
    assert "pose" not in found["off"]
    assert found["auto"]["pose"]["turned"] is True
    assert found["auto"]["pose"]["images"] == 2 * LEAST
    assert found["auto"]["image_auroc"] > 95
    assert found["auto"]["pixel_auroc"] > 90
    # Two splits and what is held out, each as it is and turned.
    assert len([*(tmp_path / "cache" / "features").glob("*.safetensors")]) == 6
    assert json.loads((tmp_path / "auto" / "results.json").read_text())["config"]["pose"] == "auto"


@pytest.mark.parametrize("ending", ["stablehlo", "onnx"])
def test_a_model_that_turns_images_is_not_exported(ending, place, tmp_path, capsys):
    out = tmp_path / f"model.{ending}"
    assert wtflow("export", place / "model", "--out", out) == 1
    assert "fit it with --pose off" in one_line(capsys.readouterr().err)
    assert not out.exists()


def test_digests_are_of_what_the_model_sees(place):
    """So that ``evaluate`` knows the images of the fit again."""
    loaded = model.load(place / "model")
    paths = sorted((place / "good").iterdir())
    seen = {image.digest() for _, image in framing.framed(paths, loaded.framing)}
    assert seen == set(loaded.training["seen"])
    other = replace(loaded, framing=loaded.framing._replace(pose=None))
    as_they_are = {image.digest() for _, image in framing.framed(paths, other.framing)}
    assert not as_they_are & seen
