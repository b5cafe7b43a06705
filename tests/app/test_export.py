"""Exported models, read by the loaders printed in docs/export.md."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import trees
from raising import fails
from running import one_line, table, wtflow

from wtflow_jax.app import export
from wtflow_jax.data import framing, open_image
from wtflow_jax.detector import model
from wtflow_jax.flow import ode

pytestmark = pytest.mark.long

DOCS = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
LOADERS = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
CONVERTER = re.search(r"jax2onnx==[0-9.]+", export.CONVERTER)[0]
TOO_NEW = jax.__version_info__ >= export.CONVERTED_BEFORE
KINDS = {
    "exact": ("--image-size", "64x96", "--velocity", "exact"),
    "unet": ("--image-size", "64", "--velocity", "unet"),
    "fine": ("--image-size", "64", "--preset", "fine"),
    "cut": ("--image-size", "64", "--overlap", "16"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Ten good images, eight new ones and a defective one, none of a window's aspect.

    Of ten, each fifth leaves eight: one training step is compiled for all of them.
    """
    place = tmp_path_factory.mktemp("export")
    names = [f"good/{i}.png" for i in range(10)] + [f"new/{i}.png" for i in range(8)] + ["bad.png"]
    for seed, name in enumerate(names):
        trees.write(place / name, trees.noisy(seed, name == "bad.png", 100, 80))
    return place


@pytest.fixture(scope="module")
def fitted(place):
    """Returns a model's directory by its name; each model is fitted once."""

    def find(kind):
        if not (place / kind).exists():
            assert wtflow("fit", place / "good", "--out", place / kind, *KINDS[kind]) == 0
        return place / kind

    return find


@pytest.fixture(scope="module")
def converter(tmp_path_factory):
    """An environment with jax2onnx; the test is skipped if pip cannot install it."""
    if TOO_NEW:
        pytest.skip(f"{CONVERTER} reads no program of jax {jax.__version__}")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    directory = tmp_path_factory.mktemp("jax2onnx")
    command = "-m", "pip", "install", "--quiet", "--no-deps", "--target", directory, CONVERTER
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{CONVERTER} cannot be installed here: {done.stderr.splitlines()[-1]}")
    return {**os.environ, "PYTHONPATH": str(directory)}


def exported(directory, path, environment):
    """Export in a separate process: only its environment has jax2onnx."""
    command = sys.executable, "-m", "wtflow_jax", "export", directory, "--out", path
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"written to {path}\n"
    return path


def images_of(loaded, place):
    """Eight different images as an exported program takes them, and their windows.

    Of images that a model was fitted to all is 0.
    """
    paths = [place / "bad.png", *sorted(place.glob("new/*.png"))][:8]
    images = [open_image(path) for path in paths]
    windows = np.concatenate([framing.frame(image, loaded.framing).windows for image in images])[:8]
    if loaded.framing.overlap is not None:
        return windows, windows
    return np.stack([np.asarray(image) for image in images]), windows


@pytest.fixture(scope="module")
def predicted(place, fitted):
    """The score that wtflow predict writes."""
    out = place / "found"
    assert wtflow("predict", fitted("exact"), place / "bad.png", "--out", out) == 0
    (row,) = table(out)
    return float(row["score"]), row["decision"]


def loaded_by_docs(loader, path, image, tmp_path):
    """Run a loader without access to this package; return its output."""
    assert len(loader.splitlines()) <= 20
    hidden = "import sys\nsys.modules['wtflow_jax'] = None\n"
    (tmp_path / "loader.py").write_text(hidden + loader)
    shutil.copy(path, tmp_path / f"model{path.suffix}")
    shutil.copy(image, tmp_path / "image.png")
    command = sys.executable, "loader.py"
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    score, decision = done.stdout.split()
    return float(score), decision


def test_stablehlo_by_the_loader_of_the_docs(place, fitted, predicted, tmp_path):
    path = tmp_path / "exact.stablehlo"
    assert wtflow("export", fitted("exact"), "--out", path) == 0
    score, decision = loaded_by_docs(LOADERS[0], path, place / "bad.png", tmp_path)
    assert score == pytest.approx(predicted[0], rel=1e-5)
    assert decision == predicted[1] == "defective"


@pytest.mark.parametrize("loader", LOADERS, ids=["stablehlo", "onnx"])
@pytest.mark.parametrize(("shape", "kind"), [((9, 9), np.uint16), ((9, 9, 4), np.uint8)], ids=str)
def test_what_loaders_would_read_otherwise_is_refused(loader, shape, kind, tmp_path):
    path = trees.write(tmp_path / "image.png", np.full(shape, 7, kind))
    code = re.search(r"^image = .*?(?=^scores|^pixels)", loader, re.DOTALL | re.MULTILINE)[0]
    command = sys.executable, "-c", "from PIL import Image, ImageOps\n" + code
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "convert it to an 8-bit image without alpha" in one_line(f"error: {done.stderr}")


@pytest.mark.slow
def test_onnx_by_the_loader_of_the_docs(place, fitted, predicted, converter, tmp_path):
    path = exported(fitted("exact"), tmp_path / "exact.onnx", converter)
    score, decision = loaded_by_docs(LOADERS[1], path, place / "bad.png", tmp_path)
    assert score == pytest.approx(predicted[0], rel=1e-5)
    assert decision == predicted[1] == "defective"


READER = """
import sys, zipfile
import jax, jax.export
import numpy as np
with zipfile.ZipFile("model.stablehlo") as file:
    program = jax.export.deserialize(bytearray(file.read("program")))
assert program.platforms == ("cpu", "cuda")
images = np.load("images.npy")
found = {}
options = {"xla_cpu_experimental_ynn_fusion_type": ""}
for batch in map(int, sys.argv[1:]):
    for name, how in {"": None, "options": options}.items():
        call = jax.jit(program.call, compiler_options=how)
        scores, maps, *inside = call(rgb=images[:batch])
        found |= {f"scores{batch}{name}": scores, f"maps{batch}{name}": maps}
np.savez("found.npz", **found)
assert not any(name.startswith(("wtflow", "flax", "diffrax")) for name in sys.modules)
"""


def long(kind):
    return pytest.param(kind, marks=pytest.mark.long)


BATCHES = {"exact": (1, 3, 8)} | {kind: (3,) for kind in ("unet", "fine", "cut")}


@pytest.mark.parametrize("kind", ["exact", *map(long, [*KINDS][1:])])
def test_stablehlo_in_a_process_with_jax_alone(kind, place, fitted, tmp_path):
    loaded = model.load(fitted(kind))
    export.export(loaded, tmp_path / "model.stablehlo")
    images, windows = images_of(loaded, place)
    np.save(tmp_path / "images.npy", images)
    command = sys.executable, "-c", READER, *map(str, BATCHES[kind])
    subprocess.run(command, cwd=tmp_path, check=True)
    found = np.load(tmp_path / "found.npz")
    for batch in BATCHES[kind]:
        scores, maps = loaded.scorer(batch)(windows[:batch])
        assert np.ptp(maps) > 1e-3
        # With the pipeline's compiler options to the last digits, else to what convolutions round.
        np.testing.assert_allclose(found[f"scores{batch}options"], scores, rtol=1e-6)
        np.testing.assert_allclose(found[f"maps{batch}options"], maps, atol=1e-6 * np.ptp(maps))
        np.testing.assert_allclose(found[f"scores{batch}"], scores, rtol=1e-4)
        np.testing.assert_allclose(found[f"maps{batch}"], maps, atol=2e-3 * np.ptp(maps))


@pytest.mark.parametrize("kind", ["exact", *map(long, ("unet", "fine"))])
def test_onnx_against_the_pipeline(kind, place, fitted, converter, tmp_path):
    import onnxruntime

    loaded = model.load(fitted(kind))
    path = exported(fitted(kind), tmp_path / "model.onnx", converter)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["wtflow"])
    assert about == json.loads(json.dumps(export.description(loaded)))
    images, windows = images_of(loaded, place)
    for batch in BATCHES[kind]:
        scores, maps = loaded.scorer(batch)(windows[:batch])
        found = session.run(["scores", "maps"], {"rgb": images[:batch]})
        np.testing.assert_allclose(found[0], scores, rtol=1e-4)
        np.testing.assert_allclose(found[1], maps, atol=2e-3 * np.ptp(maps))


def test_a_file_says_what_its_program_takes(fitted, tmp_path):
    path = tmp_path / "cut.stablehlo"
    assert wtflow("export", fitted("cut"), "--out", path) == 0
    with zipfile.ZipFile(path) as file:
        about = json.loads(file.read(export.DESCRIPTION))
    loaded = model.load(fitted("cut"))
    assert (about["size"], about["overlap"]) == ([64, 64], 16)
    assert about["threshold"] == loaded.threshold.value
    assert tuple(about["colours"]) == loaded.colours
    assert about["versions"]["jax"] == jax.__version__
    assert about["input"].startswith(
        "rgb: uint8, red before green and blue, (b, 64, 64, 3): windows"
    )


def called(path):
    """The function of a StableHLO file."""
    with zipfile.ZipFile(path) as file:
        return jax.export.deserialize(bytearray(file.read(export.PROGRAM))).call


SHAPES = {"of another aspect": (300, 50), "large": (1500, 1000)}


def test_images_of_any_size_give_what_predict_gives(fitted, tmp_path):
    loaded = model.load(fitted("exact"))
    export.export(loaded, tmp_path / "model.stablehlo")
    program = called(tmp_path / "model.stablehlo")
    for name, (height, width) in SHAPES.items():
        image = trees.noisy(3, defect=True, height=height, width=width)
        expected = loaded.predict(image)
        scores, maps, inside = program(rgb=image[None])
        assert tuple(inside.tolist()) == expected.map.shape, name
        rows, columns = expected.map.shape
        assert float(scores[0]) == pytest.approx(expected.score, rel=1e-4), name
        found = np.asarray(maps[0])[:rows, :columns]
        np.testing.assert_allclose(found, expected.map, atol=2e-3 * np.ptp(maps), err_msg=name)


def test_who_calls_it_names_the_order_of_the_colours(fitted, tmp_path):
    loaded = model.load(fitted("exact"))
    export.export(loaded, tmp_path / "model.stablehlo")
    program = called(tmp_path / "model.stablehlo")
    image = trees.noisy(3, height=64, width=96)[None]
    with pytest.raises(ValueError, match="same pytree structure"):
        program(bgr=image)
    with pytest.raises(ValueError, match="same pytree structure"):
        program(image)
    with pytest.raises(ValueError, match="Rank mismatch for kwargs"):
        program(rgb=image[0])


def test_windows_of_another_size_are_refused(fitted, tmp_path):
    export.export(model.load(fitted("cut")), tmp_path / "model.stablehlo")
    with pytest.raises(ValueError, match="Shape mismatch for kwargs"):
        called(tmp_path / "model.stablehlo")(rgb=np.zeros((1, 65, 64, 3), np.uint8))


@pytest.mark.parametrize("steps", [1, 7])
def test_euler_in_other_words(steps):
    def velocity(params, t, x):
        return params * x + t

    x0 = jnp.arange(6.0).reshape(2, 3)
    given = velocity, jnp.float32(-0.7), x0
    how = {"steps": steps, "solver": ode.EULER, "t_start": jnp.float32(0.2)}
    expected = ode.push_forward(*given, **how)
    np.testing.assert_allclose(export.euler(*given, **how), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("{place}/exact", "m.pt"), "m.pt: give a name that ends in .stablehlo or .onnx"),
        (("{place}/exact", "{place}/bad.png"), "{place}/bad.png: give a name that ends in"),
        (("{place}/exact", "there.onnx"), "there.onnx: already exists; give another --out"),
        (("{place}", "m.stablehlo"), "{place}: is not a model"),
        (("nowhere", "m.onnx"), "nowhere: is not a model"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(
    command, message, place, fitted, tmp_path, capsys, monkeypatch
):
    fitted("exact")
    monkeypatch.chdir(tmp_path)
    Path("there.onnx").write_text("kept")
    capsys.readouterr()
    source, out = (part.format(place=place) for part in command)
    assert wtflow("export", source, "--out", out) == 1
    told = one_line(capsys.readouterr().err)
    assert told.startswith(f"error: {message.format(place=place)}")
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]
    assert Path("there.onnx").read_text() == "kept"


@pytest.mark.parametrize(
    ("missing", "out", "message"),
    [
        pytest.param(
            "jax2onnx",
            "m.onnx",
            f"pip install 'wtflow-jax[export]' && {export.CONVERTER}",
            marks=pytest.mark.skipif(TOO_NEW, reason="nothing is to be installed for ONNX"),
        ),
        ("flatbuffers", "m.stablehlo", "pip install 'wtflow-jax[export]'"),
    ],
)
def test_what_is_not_installed_is_one_line(
    missing, out, message, fitted, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, missing, None)
    for name in [name for name in sys.modules if name.startswith("jax._src.export.serialization")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert wtflow("export", fitted("exact"), "--out", out) == 1
    told = one_line(capsys.readouterr().err)
    assert told == f"error: {out}: needs {missing}, which is not installed; {message}"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"solver": "heun"}, "--solver heun: cannot be converted to ONNX"),
        ({"neighbourhood": 1}, "--velocity exact, as it was fitted: cannot be converted to ONNX"),
    ],
)
def test_what_onnx_does_not_take(changes, told, fitted, tmp_path):
    loaded = model.load(fitted("exact"))
    config = loaded.config.but(**changes)
    other = replace(loaded, detector=loaded.detector._replace(config=config))
    with fails(told):
        export.onnx(other, tmp_path / "m.onnx")


def test_a_jax_that_onnx_does_not_take(fitted, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "CONVERTED_BEFORE", (0, 9))
    with fails("^jax .*: ONNX export needs jax before 0.9; .*.stablehlo"):
        export.onnx(model.load(fitted("exact")), tmp_path / "m.onnx")
