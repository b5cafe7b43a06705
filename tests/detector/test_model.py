"""A fitted model and its file: equal scores after loading; other files are refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees
from raising import fails

from wtflow_jax import backbones
from wtflow_jax.app import fit
from wtflow_jax.data.framing import Framing
from wtflow_jax.detector import detector, drift, model
from wtflow_jax.detector.config import configure
from wtflow_jax.detector.model import FILE, Model
from wtflow_jax.flow.maps import MAPS
from wtflow_jax.metrics.threshold import Threshold
from wtflow_jax.support import tensors


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("images")
    for i in range(5):
        trees.write(place / "in" / f"{i}.png", trees.noisy(i, i % 2 == 0))
    return place


@pytest.fixture(scope="module")
def lite0(place):
    return backbones.load("efficientnet_lite0", cache=place)


@pytest.fixture(scope="module")
def windows(place, lite0):
    return fit.take(sorted((place / "in").iterdir()), lite0, Framing((64, 64)), False)


def made(lite0, windows, **flags):
    config = configure(**{"velocity": "exact", "rank": 3, "image_size": "64"} | flags)
    fitted = detector.init(config, jnp.asarray(windows.maps))[0]
    training = {"images": 5, "seen": list(windows.digests), "held_out": [0.5], "held_out_of": [0]}
    training["usual"] = drift.usual(windows.looks)
    threshold = Threshold(0.625, 0.125)
    return Model(Framing((64, 64)), lite0, fitted, threshold, (0.6, 0.7), training, {"a": "1"})


def test_another_threshold_has_its_rate_and_colours(lite0, windows):
    usual = made(lite0, windows, wt="whiten", alpha=0.1)
    usual.training["held_out"][:] = np.arange(1.0, 20.0).tolist()
    moved = usual.at(threshold=17.5)
    assert moved.threshold == (17.5, pytest.approx(0.15))
    assert moved.colours == (0.6, pytest.approx(2 * 17.5 - 0.6))
    assert usual.at(false_alarms=0.1).threshold == (18.0, pytest.approx(0.1))
    assert usual.threshold == (0.625, 0.125)
    assert usual.at(threshold=0.1).colours[0] < 0.1
    for asked, told in (
        ({}, "one of them"),
        ({"threshold": 1.0, "false_alarms": 0.1}, "one of them"),
        ({"threshold": float("nan")}, "--threshold nan: give a finite number"),
        ({"false_alarms": 0.0}, "--false-alarms 0.0: give above 0 and below 1"),
    ):
        with fails(told):
            usual.at(**asked)


@pytest.mark.parametrize("wt", list(MAPS))
@pytest.mark.parametrize("velocity", ["exact", "patch"])
def test_what_is_loaded_is_what_was_saved(wt, velocity, lite0, windows, tmp_path):
    saved = made(lite0, windows, wt=wt, velocity=velocity)
    saved.save(tmp_path / "deep" / "model")
    assert [path.name for path in (tmp_path / "deep" / "model").iterdir()] == [FILE]
    loaded = model.load(tmp_path / "deep" / "model")
    for name in ("framing", "threshold", "colours", "training", "versions"):
        assert getattr(loaded, name) == getattr(saved, name)
    assert loaded.config.flags() == saved.config.flags()
    for part in ("wt", "velocity", "solver", "score"):
        assert getattr(loaded.config, part) == getattr(saved.config, part)
    kept = (
        (saved.detector.params, saved.detector.stats, saved.backbone.params),
        (loaded.detector.params, loaded.detector.stats, loaded.backbone.params),
    )
    assert jax.tree.structure(kept[0]) == jax.tree.structure(kept[1])
    for a, b in zip(*map(jax.tree.leaves, kept), strict=True):
        assert (a.shape, a.dtype, a.tobytes()) == (b.shape, b.dtype, b.tobytes())
    assert loaded.backbone.apply == saved.backbone.apply
    assert loaded.backbone[:3] == saved.backbone[:3]


def test_one_or_several_images(place, lite0, windows):
    whole = made(lite0, windows)
    paths = sorted((place / "in").iterdir())
    one = whole.predict(paths[0])
    assert one.map.shape == one.pixels.shape[:2] == (64, 64)
    assert (one.path, one.error, one.map.dtype) == (paths[0], None, np.float32)
    assert one.defective is (one.score > whole.threshold.value)
    several = whole.predict(place / "in")
    assert [result.path for result in several] == paths
    lazy = whole.predict(iter(paths))
    assert not isinstance(lazy, list)
    assert [result.score for result in lazy] == [result.score for result in several]


def test_a_bad_image_among_good_ones(place, lite0, windows):
    whole = made(lite0, windows)
    (place / "bad.png").write_bytes(b"none")
    good = sorted((place / "in").iterdir())[:2]
    results = list(whole.results([good[0], place / "bad.png", good[1]]))
    assert [result.error is None for result in results] == [True, False, True]
    assert (results[1].score, results[1].defective, results[1].map) == (None, None, None)
    alone = [result.score for result in whole.predict(good)]
    assert [results[0].score, results[2].score] == alone
    with fails("bad.png: cannot be decoded"):
        whole.predict(place / "bad.png")


def test_saving_replaces_a_model_and_nothing_else(lite0, windows, tmp_path):
    first, second = (made(lite0, windows, wt=wt) for wt in ("none", "whiten"))
    first.save(tmp_path / "model")
    assert model.check_free(tmp_path / "model")
    second.save(tmp_path / "model")
    assert model.load(tmp_path / "model").config.flow.wt == "whiten"
    (tmp_path / "model" / "notes").write_text("mine")
    with fails("model: holds other files; give another directory"):
        first.save(tmp_path / "model")
    (tmp_path / "file").write_text("mine")
    with fails("file: is a file; give a directory"):
        first.save(tmp_path / "file")
    assert not model.check_free(tmp_path / "nowhere")


def test_what_is_no_model_is_one_line(lite0, windows, tmp_path):
    with fails("nowhere: is not a model, model.safetensors is missing; see wtflow fit"):
        model.load(tmp_path / "nowhere")
    made(lite0, windows).save(tmp_path)
    path = tmp_path / FILE
    assert model.load(path).threshold == model.load(tmp_path).threshold
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[-5] ^= 255
    for other in (b"", b"rubbish", content[:-100], content + b"x", bytes(flipped)):
        path.write_bytes(other)
        with fails(f"{path}: cannot be read", "; fit the model again"):
            model.load(tmp_path)


def test_what_another_version_wrote_is_one_line(lite0, windows, tmp_path):
    made(lite0, windows).save(tmp_path)
    path = tmp_path / FILE
    arrays, about = tensors.load(path)
    changes = [
        {"format": 3},
        {"config": about["config"] | {"gone": 1}},
        {"config": about["config"] | {"wt": "gone"}},
        {"backbone": about["backbone"] | {"name": "gone"}},
        {"backbone": about["backbone"] | {"layers": ["layer9"]}},
        {"framing": {}},
        {"threshold": {"value": 1.0}},
        {"colours": None},
    ]
    for change in changes:
        tensors.save(path, arrays, about | change)
        with fails(f"{path}: cannot be read", "; fit the model again"):
            model.load(tmp_path)
    for name in about:
        tensors.save(path, arrays, {k: v for k, v in about.items() if k != name})
        with fails(f"{path}: cannot be read"):
            model.load(tmp_path)
    assert json.dumps(about)


def test_trees_of_arrays_by_their_paths():
    tree = {"a": [np.zeros(2), {"b": np.ones(())}], "c": np.arange(3)}
    flat = model.flatten(tree)
    assert list(flat) == ["a/0", "a/1/b", "c"]
    again = model.nested(flat)
    assert jax.tree.structure(again) == jax.tree.structure(tree)
    assert model.nested(model.flatten(np.arange(2))).tolist() == [0, 1]
