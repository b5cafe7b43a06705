"""One compiled function from images to scores: the numbers of its parts, and kept for later."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

from wtflow_jax import backbones
from wtflow_jax import data as datasets
from wtflow_jax.backbones import features
from wtflow_jax.detector import detector, inference, pipeline
from wtflow_jax.detector.config import Config
from wtflow_jax.flow import scores
from wtflow_jax.support.errors import WTFlowError

SIZE = (64, 96)


@pytest.fixture(scope="module")
def lite0(tmp_path_factory):
    return backbones.load("efficientnet_lite0", cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    trees.mvtec_ad(root, "bolt")
    return datasets.open_category(root, "bolt").test[:3]


def fitted(config, maps):
    """A detector whose velocity is not zero, as the network's is at first."""
    found, _ = detector.init(config, jnp.asarray(maps))
    leaves, structure = jax.tree.flatten(found.params)
    draw = np.random.default_rng(0)
    noisy = [leaf + 0.1 * draw.standard_normal(leaf.shape, np.float32) for leaf in leaves]
    return found._replace(params=jax.tree.unflatten(structure, noisy))


@pytest.mark.parametrize(
    "flags",
    [
        {"wt": "batch_norm"},
        {"steps_det": 1, "steps_loc": 3, "centres": "half_pixel", "top_fraction": 0.5},
        {"solver": "heun", "steps_det": 2, "steps_loc": 2, "start": 0.3, "power": 0.5},
        {"dense": True, "score": "log_density"},
    ],
    ids=str,
)
def test_scores_are_those_of_the_parts(flags, lite0, samples, tmp_path):
    config = Config(backbone="efficientnet_lite0", width=8, **flags)
    maps = features.extract(lite0, samples, SIZE, tmp_path, dense=config.dense)
    found = fitted(config, maps)
    grid = features.grid(lite0, config.dense)
    offset = grid.offset if config.centres == "true" else None
    upsampling = scores.upsampling(SIZE, maps.shape[1:3], grid.stride, offset)
    expected = inference.predict(found, maps, config, upsampling)
    images = np.stack([datasets.read_image(sample.path, SIZE) for sample in samples])
    # Batches that are filled up, and one that is not full.
    for batch in (2, 8):
        scorer = pipeline.compile(lite0, found, config, SIZE, batch=batch)
        for part, wanted in zip(scorer(images), expected, strict=True):
            np.testing.assert_allclose(part, wanted, rtol=2e-4, atol=1e-5)
        alone = scorer(images[2:])
        np.testing.assert_allclose(alone[0], expected[0][2:], rtol=2e-4)
    assert np.ptp(expected[0]) > 2e-3 * expected[0].mean()


def test_images_of_another_size(lite0):
    config = Config(backbone="efficientnet_lite0", width=8)
    found, _ = detector.init(config, jnp.zeros((2, 2, 3, 80)))
    scorer = pipeline.compile(lite0, found, config, SIZE)
    for shape in ((1, 32, 32, 3), (0, *SIZE, 3)):
        with pytest.raises(WTFlowError, match=r"give at least one of \(64, 96, 3\)"):
            scorer(np.zeros(shape, np.uint8))
    with pytest.raises(WTFlowError, match=r"float32: give at least one of \(64, 96, 3\), uint8"):
        scorer(np.zeros((1, *SIZE, 3), np.float32))


CAMERA = """
import sys
from pathlib import Path
import jax
import jax.numpy as jnp
import numpy as np
from wtflow_jax import backbones
from wtflow_jax.support import compilation
from wtflow_jax.detector import detector, pipeline
from wtflow_jax.detector.config import Config
compilation.keep(Path(sys.argv[1]))
config = Config(backbone="efficientnet_lite0", width=8, solver=sys.argv[2])
lite0 = backbones.load("efficientnet_lite0", cache=Path(sys.argv[1]) / "weights")
found, _ = detector.init(config, np.zeros((2, 2, 2, 80), np.float32))
print(pipeline.compile(lite0, found, config, (64, 64))(np.zeros((1, 64, 64, 3), np.uint8))[0])
"""


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_the_next_process_compiles_nothing(solver, tmp_path):
    def run():
        command = [sys.executable, "-c", CAMERA, str(tmp_path), solver]
        environment = {k: v for k, v in os.environ.items() if "COMPILATION" not in k}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout, {path.name for path in tmp_path.glob("*-cache")}

    first, compiled = run()
    assert any(name.startswith("jit_run") for name in compiled)
    assert run() == (first, compiled)
