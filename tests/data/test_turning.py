"""Should images be turned? Only if objects lie in every orientation."""

import numpy as np
import pytest
import trees
from conftest import shared
from objects import hammer
from PIL import Image

from wtflow_jax import data
from wtflow_jax.data import turning

ANY = 2 * np.pi


def smooth(rng):
    return Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))


CASES = {
    "every way": (True, lambda rng: hammer(rng, rng.uniform(0, ANY))),
    "much noise": (True, lambda rng: hammer(rng, rng.uniform(0, ANY), noise=25)),
    "a wide image": (True, lambda rng: hammer(rng, rng.uniform(0, ANY), (150, 220))),
    "two ends alike": (True, lambda rng: hammer(rng, rng.uniform(0, ANY), head=7)),
    "one way": (False, lambda rng: hammer(rng, 0.3)),
    "nearly one way": (False, lambda rng: hammer(rng, rng.normal(0.3, 0.1))),
    "one way, ends alike": (False, lambda rng: hammer(rng, 0.3, head=7)),
    "round": (False, lambda rng: hammer(rng, rng.uniform(0, ANY), head=50)),
    "noise": (False, lambda rng: rng.integers(0, 256, (160, 160, 3), dtype=np.uint8)),
    "texture": (False, lambda rng: np.asarray(smooth(rng).resize((160, 160)))),
    "one colour": (False, lambda rng: np.full((64, 64, 3), 90, np.uint8)),
}


@pytest.mark.parametrize("name", CASES)
def test_what_lies_every_way_is_to_be_turned(name):
    wanted, make = CASES[name]
    rng = np.random.default_rng(0)
    images = [make(rng) for _ in range(24)]
    assert turning.wanted(images) is wanted, turning.evidence(images)


def test_too_few_images_say_nothing(tmp_path):
    rng = np.random.default_rng(0)
    images = [hammer(rng, rng.uniform(0, ANY)) for _ in range(turning.LEAST)]
    assert turning.wanted(images)
    assert not turning.wanted(images[:-1])
    assert not turning.wanted([])
    files = [trees.write(tmp_path / f"{i}.png", image) for i, image in enumerate(images)]
    assert turning.of_files(files) == turning.evidence(images)
    # No image is even read.
    assert turning.of_files([tmp_path / "missing.png"] * (turning.LEAST - 1)).images == 0


def test_a_few_odd_images_do_not_matter_and_more_do():
    rng = np.random.default_rng(0)
    images = [hammer(rng, rng.uniform(0, ANY)) for _ in range(40)]
    odd = [np.asarray(smooth(rng).resize((160, 160))) for _ in range(4)]
    assert turning.wanted([*images, odd[0]])
    assert not turning.wanted([*images, *odd])


def test_the_shift_puts_an_object_into_the_middle():
    rng = np.random.default_rng(0)
    found = turning.evidence(hammer(rng, rng.uniform(0, ANY)) for _ in range(24))
    # 100 pixels long, its centroid some 8 pixels nearer to the head, in images of 160.
    assert found.shift == pytest.approx(0.05, abs=0.01)
    assert found.inside == 1
    assert "of 24 good images 100% show a long object" in str(found)


@pytest.mark.parametrize("name", ["screw", "bottle", "transistor", "tire"])
def test_of_real_objects_the_screw_alone_is_to_be_turned(name):
    layout = "mvtec_3d" if name == "tire" else "mvtec_ad"
    root = shared("data", layout, name).parent
    files = [sample.path for sample in data.open_category(root, name, layout).train]
    found = turning.of_files(files)
    assert found.use is (name == "screw")
    # Far from the threshold for turning.
    left = (1 - found.straightened) / (1 - found.untouched)
    if name == "screw":
        assert min(found.plain, found.elongated, found.inside) > 0.98
        assert (found.aligned < 0.3, left < 0.1) == (True, True)
    else:
        assert (found.elongated < 0.5, left > 1) == (True, True)
