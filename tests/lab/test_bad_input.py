"""Bad input of experiments: one clear error line, and no files left."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import trees
from conftest import shared
from PIL import Image
from running import EXPERIMENTS, one_line, places, run

QUICK = "--smoke", "--velocity", "patch", "--image-size", 64


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "data"
    trees.mvtec_ad(root, "bolt")
    return root


@pytest.fixture
def refused(tmp_path, capsys):
    """Returns the one line with which the main job ends."""

    def told(root, *flags, name="mvtec"):
        where = *places(tmp_path / "out"), "--cache", tmp_path / "cache"
        data = () if root is None else ("--root", root)
        capsys.readouterr()
        assert run(name, *QUICK, *data, *where, *flags) == 1
        return one_line(capsys.readouterr().err)

    return told


def test_a_missing_root(tmp_path, refused):
    message = refused(tmp_path / "nowhere")
    assert "nowhere" in message
    assert not (tmp_path / "out").exists()


def test_a_category_that_is_not_there(tree, refused):
    message = refused(tree, "--categories", "nut")
    assert "nut" in message
    assert "bolt" in message


def test_categories_without_a_root(refused, cache):
    message = refused(None, "--categories", "bottle", "--cache", cache)
    assert message.endswith("bottle: without --root there is only texture; give --root")


def test_a_truncated_image(tree, tmp_path, refused):
    path = sorted((tree / "bolt" / "train" / "good").iterdir())[0]
    path.write_bytes(path.read_bytes()[:60])
    message = refused(tree)
    assert path.name in message
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_mask_of_another_size(tree, tmp_path, refused):
    path = sorted((tree / "bolt" / "ground_truth").rglob("*.png"))[0]
    Image.new("L", (5, 7)).save(path)
    message = refused(tree)
    assert path.name in message
    assert "7x5" in message


def test_a_defect_without_mask(tree, tmp_path, refused):
    path = sorted((tree / "bolt" / "ground_truth").rglob("*.png"))[0]
    path.unlink()
    assert "without mask" in refused(tree)


def test_weights_of_another_architecture(tree, tmp_path, refused):
    weights = shared("weights", "resnet18_imagenet1k_v1_folded_layer3.safetensors")
    message = refused(tree, "--backbone", "resnet34", "--weights", weights)
    assert weights.name in message
    assert "resnet34" in message


def test_a_hostile_pickle(tree, tmp_path, refused):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "taken"),)

    weights = tmp_path / "weights.pth"
    weights.write_bytes(pickle.dumps(Hostile()))
    message = refused(tree, "--backbone", "resnet18", "--weights", weights)
    assert "weights.pth" in message
    assert not (tmp_path / "taken").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--image-size", "100"), "multiples of 32"),
        (("--layer", "block99"), "block99"),
        (("--width", "12"), "--width 12: give at least 8 and a multiple of 8"),
        (("--epochs", "0"), "--epochs 0"),
        (("--top-fraction", "1.5"), "--top-fraction 1.5"),
        (("--decay-at", "0.5", "1.5"), "--decay-at 0.5 1.5: give at least 0 and at most 1"),
        (("--seed", "99999999999"), "--seed 99999999999"),
    ],
)
def test_values_out_of_range(tree, tmp_path, refused, flags, said):
    assert said in refused(tree, *flags)


def test_an_out_that_cannot_be_made(tree, tmp_path, refused):
    (tmp_path / "file").write_text("")
    message = refused(tree, "--out", tmp_path / "file" / "x")
    assert "file" in message


def test_masks_that_mark_nothing(tree, tmp_path, refused):
    for path in (tree / "bolt" / "ground_truth").rglob("*.png"):
        Image.new("L", Image.open(path).size).save(path)
    assert "marks a pixel" in refused(tree)
    # What was refused leaves nothing that refuses the next run.
    assert "marks a pixel" in refused(tree)


@pytest.mark.long
def test_training_that_diverges(tree, tmp_path, refused):
    message = refused(tree, "--learning-rate", "1e30", "--epochs", "3")
    assert "lower --learning-rate" in message
    # Follow the advice, with otherwise equal flags.
    where = *places(tmp_path / "out"), "--cache", tmp_path / "cache", "--root", tree
    assert run("mvtec", *QUICK, *where, "--learning-rate", "1e-3", "--epochs", "1") == 0


def test_the_exact_field_wants_a_gaussian_target(refused, cache):
    message = refused(
        None, "--target", "sphere", "--velocity", "exact", "--cache", cache, name="exact_field"
    )
    assert "--target sphere: its exact field has no closed form" in message


def test_an_unknown_layout(tree, refused):
    assert "take one of folder, kolektor_sdd, mvtec_loco" in refused(tree, "--data", "mvtec")


def elsewhere(directory, *words, **settings):
    """Run in a new process: JAX reads its environment only once. Return the error line."""
    command = [sys.executable, *map(str, words)]
    environment = os.environ | settings
    done = subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True)
    assert done.returncode == 1
    return one_line(done.stderr)


@pytest.mark.long
@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_a_device_that_is_not_there(tree, tmp_path, platform):
    # A machine without cards, whatever is installed.
    settings = {"JAX_PLATFORMS": platform, "CUDA_VISIBLE_DEVICES": ""}
    mvtec = [EXPERIMENTS / "mvtec.py", *QUICK, "--root", tree, "--out", tmp_path / "out"]
    fit = ["-m", "wtflow_jax", "fit", tree / "bolt" / "train" / "good", "--out", tmp_path / "m"]
    for words in (mvtec, [*fit, "--image-size", 64], ["-m", "wtflow_jax.plan"]):
        message = elsewhere(Path(__file__).parents[2], *words, **settings)
        assert message.startswith(f"error: JAX_PLATFORMS={platform}: ")
        assert message.endswith("; unset it, or give cpu")


@pytest.mark.slow
def test_a_promotion_that_flax_does_not_know(tree, tmp_path):
    words = [EXPERIMENTS / "mvtec.py", *QUICK, "--root", tree, "--out", tmp_path / "out"]
    message = elsewhere(tmp_path, *words, JAX_NUMPY_DTYPE_PROMOTION="strict")
    assert message.startswith("error: JAX_NUMPY_DTYPE_PROMOTION=strict: ")
