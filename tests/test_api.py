"""``import wtflow_jax as wtflow``: fit, predict, save and load, of whatever a user holds."""

import io
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import trees
from PIL import Image
from raising import fails

import wtflow_jax as wtflow

# The defect is large, and the good images are similar.
pytestmark = pytest.mark.filterwarnings("ignore:the (image is|last 3):wtflow_jax.WTFlowWarning")


@pytest.fixture(scope="module")
def model(small_model):
    return wtflow.load(small_model)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A defective one, beside a good one."""
    place = tmp_path_factory.mktemp("new")
    trees.write(place / "b.png", trees.noisy(9))
    return trees.write(place / "a.png", trees.noisy(8, defect=True))


@pytest.fixture(scope="module")
def expected(model, image):
    return model.predict(image)


def same(found, expected):
    assert (found.score, found.defective, found.error) == (expected.score, True, None)
    np.testing.assert_array_equal(found.map, expected.map)
    np.testing.assert_array_equal(found.pixels, expected.pixels)


def test_importing_loads_no_jax():
    code = "import sys, wtflow_jax as wtflow; assert wtflow.__all__; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = wtflow.nothing


# Fit


def test_good_images_of_every_kind_make_the_same_model(small_model, model, tmp_path):
    good = small_model.parent / "good"
    paths = sorted(good.iterdir())
    pictures = [Image.open(path) for path in paths]
    arrays = [np.asarray(picture) for picture in pictures]
    sources = [str(good), good, str(good / "*.png"), paths, pictures, arrays, np.stack(arrays)]
    for source in (*sources, iter(arrays)):
        fitted = wtflow.fit(source, image_size=64)
        assert fitted.threshold == model.threshold
        assert fitted.training == model.training


@pytest.mark.parametrize(
    ("source", "choices", "words"),
    [
        ("nowhere", {}, "nowhere: no such file or directory"),
        (None, {}, "type NoneType: not an image; give paths"),
        ([], {}, "an empty list"),
        (np.zeros((2, 32, 32, 3), np.uint8), {}, "2 good images: too few"),
        (np.zeros((4, 32, 32, 3), np.uint8), {"image_size": 32}, "4 good images show 1 parts"),
        ([b"rubbish"] * 3, {"image_size": "32x32"}, "image 1: cannot be decoded"),
        ("nowhere", {"nope": 1}, "no such file"),
        (np.zeros((4, 32, 32, 3), np.uint8), {"nope": 1}, "--nope: no such flag"),
        (np.zeros((4, 32, 32, 3), np.uint8), {"velocity": "nope"}, "no such choice; take one of"),
        (np.zeros((4, 32, 32, 3), np.uint8), {"backbone": "nope"}, "take one of .*efficientnet"),
        (np.zeros((4, 32, 32, 3), np.uint8), {"false_alarms": 1.0}, "--false-alarms 1: give"),
        (np.zeros((4, 32, 32, 3), np.uint8), {"overlap": 600}, "--overlap 600: give"),
    ],
    ids=lambda value: str(value)[:30] if not isinstance(value, np.ndarray) else "array",
)
def test_what_cannot_be_fitted_is_one_line(source, choices, words):
    with fails(words):
        wtflow.fit(source, **choices)


# Predict


@pytest.mark.parametrize(
    "make",
    [
        str,
        Path,
        Image.open,
        lambda path: np.asarray(Image.open(path)),
        lambda path: jax.numpy.asarray(np.asarray(Image.open(path))),
        lambda path: np.asfortranarray(Image.open(path)),
        Path.read_bytes,
        lambda path: bytearray(path.read_bytes()),
        lambda path: io.BytesIO(path.read_bytes()),
        lambda path: path.open("rb"),
    ],
    ids=["str", "path", "pil", "array", "jax", "strided", "bytes", "bytearray", "file", "open"],
)
def test_one_image_of_every_kind(make, model, image, expected):
    same(model.predict(make(image)), expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda pixels: pixels.astype(np.uint16) * 257,
        lambda pixels: pixels.astype(">u2") * 257,
        lambda pixels: pixels / 255,
        lambda pixels: (pixels / 255).astype(np.float32),
        lambda pixels: np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]),
    ],
    ids=["uint16", "big-endian", "float64", "float32", "with alpha"],
)
def test_numbers_of_every_kind(make, model, image, expected):
    pixels = np.asarray(Image.open(image))
    same(model.predict(make(pixels)), expected)
    if pixels.shape == make(pixels).shape:
        same(model.predict(make(pixels)[..., ::-1], bgr=True), expected)
    (first, _) = model.predict(np.stack([make(pixels)] * 2))
    assert first.score == pytest.approx(expected.score, rel=1e-5)


def test_twelve_bits_are_those_of_the_good_images(tmp_path):
    def saved(seed, defect=False, bits=12):
        grey = trees.noisy(seed, defect)[..., 0]
        values = np.round(grey * ((2**bits - 1) / 255)).astype(np.uint16)
        path = tmp_path / f"{bits}" / f"{seed}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(values).save(path)
        return path, grey

    good, greys = zip(*(saved(seed) for seed in range(4)), strict=True)
    twelve, eight = (wtflow.fit(list(of), image_size="64") for of in (good, greys))
    assert twelve.framing.white == (4095, None)
    assert twelve.threshold == eight.threshold
    bad, grey = saved(9, defect=True)
    twelve.save(tmp_path / "model")
    for model in (twelve, wtflow.load(tmp_path / "model")):
        assert model.predict(bad).score == eight.predict(grey).score
        # A converted one is as bright.
        assert model.predict(grey).score == eight.predict(grey).score
    with fails("7.png: its highest value is 65535, and in the images .* 4095 is white"):
        twelve.predict(saved(7, defect=True, bits=16)[0])
    with fails("9.png: 16-bit pixels up to 4095, and the value of white is not known"):
        eight.predict(bad)


def test_grey_images(model, image, tmp_path):
    grey = Image.open(image).convert("L")
    wanted = model.predict(trees.write(tmp_path / "grey.png", np.asarray(grey)))
    for source in (grey, np.asarray(grey)):
        same(model.predict(source), wanted)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.parent,
        lambda path: str(path.parent / "*.png"),
        lambda path: [path, path.parent / "b.png"],
        lambda path: (Image.open(path), path.with_name("b.png").read_bytes()),
        lambda path: np.stack(
            [np.asarray(Image.open(path.with_name(n))) for n in ("a.png", "b.png")]
        ),
        lambda path: [path.parent],
        lambda path: [[path], [path.with_name("b.png")]],
    ],
    ids=["directory", "pattern", "list", "tuple", "stack", "list of directories", "lists"],
)
def test_several_images_of_every_kind(make, model, image, expected):
    bad, good = model.predict(make(image))
    # In a batch with other images the last digits may differ.
    assert bad.score == pytest.approx(expected.score, rel=1e-5)
    np.testing.assert_allclose(bad.map, expected.map, rtol=1e-5)
    assert (bad.defective, good.defective) == (True, False)


def test_an_iterator_is_read_as_far_as_it_is_asked_for(model, image, expected):
    taken = []

    def camera():
        while True:
            taken.append(image)
            yield image

    found = model.predict(camera())
    assert not taken
    for _ in range(3):
        assert next(found).score == pytest.approx(expected.score, rel=1e-5)
    # A batch, and those that are decoded ahead.
    assert len(taken) <= 8 + 16 + 1
    found.close()


BAD = {
    "nothing of the name": lambda path: "nowhere.png",
    "nul": lambda path: "a\0b",
    "empty path": lambda path: "",
    "no image below": lambda path: path.parent / "none",
    "no match": lambda path: str(path.parent / "*.tif"),
    "text": lambda path: path.parent / "none" / "text",
    "None": lambda path: None,
    "number": lambda path: 3,
    "type": lambda path: int,
    "rubbish": lambda path: b"rubbish",
    "no bytes": lambda path: b"",
    "cut": lambda path: path.read_bytes()[:90],
    "text file": lambda path: path.open(),
    "closed file": lambda path: closed(path),
    "file at its end": lambda path: io.BytesIO(),
    "float": lambda path: np.asarray(Image.open(path)) / 2.0,
    "16 bits": lambda path: np.asarray(Image.open(path)).astype(np.uint16),
    "int64": lambda path: np.asarray(Image.open(path)).astype(int),
    "two channels": lambda path: np.zeros((8, 8, 2), np.uint8),
    "alpha": lambda path: np.zeros((8, 8, 4)),
    "no pixel": lambda path: np.zeros((0, 4, 3), np.uint8),
    "no image": lambda path: np.zeros((0, 4, 4, 3), np.uint8),
    "axes": lambda path: np.zeros((1, 2, 2, 2, 3), np.uint8),
    "scalar": lambda path: np.uint8(3),
    "names": lambda path: np.array([str(path)]),
    "float pixels": lambda path: Image.new("F", (8, 8), 2.0),
    "no size": lambda path: Image.new("RGB", (0, 0)),
    "empty list": lambda path: [],
    "empty iterator": lambda path: iter(()),
    "number in a list": lambda path: [path, 3],
    "rubbish in a tuple": lambda path: (path, b"rubbish"),
    "rubbish in an iterator": lambda path: iter([path, b"rubbish"]),
}


def closed(path):
    with path.open("rb") as file:
        return file


@pytest.mark.parametrize("name", BAD)
def test_a_bad_source_is_one_line(name, model, image):
    none = image.parent / "none"
    none.mkdir(exist_ok=True)
    (none / "text").write_text("no image")
    with fails("(: |; )"):
        found = model.predict(BAD[name](image))
        list(found)


def test_a_result_without_a_decision_is_an_error(model, image):
    """NaN is above no threshold: such an image would be called good."""
    lost = jax.tree.map(lambda leaf: leaf * np.nan, model.detector.stats)
    broken = replace(model, detector=model.detector._replace(stats=lost))
    with fails("a.png: its scores are NaN or infinite; fit the model again"):
        broken.predict(image)
    (row,) = broken.results([image])
    assert (row.score, row.defective) == (None, None)
    assert "NaN" in row.error


def test_results_take_paths_as_strings(model, image):
    (row,) = model.results([str(image)])
    assert (row.path, row.error) == (image, None)
    assert row.score == pytest.approx(model.predict(image).score, rel=1e-5)


def test_another_camera_is_warned_of_once_a_call(model, image):
    dark = (0.6 * np.asarray(Image.open(image.parent / "b.png"))).astype(np.uint8)
    for source, words in ((dark, "the image is"), ([dark] * 3, "the last 3 images are")):
        with pytest.warns(wtflow.WTFlowWarning, match=f"^{words} unlike .*: darker") as caught:
            model.predict(source)
        assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(image.parent / "b.png")
        model.predict(image.parent)


def test_a_second_call_compiles_nothing(model, image):
    compiled = []

    def heard(event, seconds, **more):
        if "compile" in event:
            compiled.append(event)

    several = [image, image.parent / "b.png"]
    model.predict(image), model.predict(several)
    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        model.predict(image)
        model.predict(np.asarray(Image.open(image)))
        model.predict(several)
        # An equal number of others, to fill a batch.
        model.predict([*several, image])
        assert not compiled
        jax.jit(lambda x: x + 1)(0)
        assert compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(heard)


# Save and load


def test_what_is_loaded_scores_bit_for_bit_as_what_was_saved(model, image, expected, tmp_path):
    model.save(tmp_path / "a")
    loaded = wtflow.load(str(tmp_path / "a"))
    same(loaded.predict(image), expected)
    assert (loaded.config, loaded.threshold) == (model.config, model.threshold)
    loaded.save(str(tmp_path / "b"))
    whole, again = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert whole == again


KILLED = """
import os, signal, sys
import wtflow_jax as wtflow

model = wtflow.load(sys.argv[1])
os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
model.save(sys.argv[2])
"""


def test_saving_that_is_killed_leaves_the_old_file(model, small_model, tmp_path):
    other = replace(model, colours=(0.0, 1.0))
    other.save(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    done = subprocess.run([sys.executable, "-c", KILLED, small_model, tmp_path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("*.part"))) == 1
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert wtflow.load(tmp_path).colours == (0.0, 1.0)
    # And is in nobody's way.
    model.save(tmp_path)
    assert wtflow.load(tmp_path).colours == model.colours


def test_places_that_are_taken_or_empty(model, tmp_path):
    (tmp_path / "mine").write_text("kept")
    with fails("holds other files"):
        model.save(tmp_path)
    with fails("mine: is a file"):
        model.save(tmp_path / "mine")
    with fails("is not a model, model.safetensors is missing"):
        wtflow.load(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
