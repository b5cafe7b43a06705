"""The route from images to scores: the same bits for every caller, compiled once."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees
from compiling import compilations
from conftest import shared
from running import rows, run, table, wtflow

from wtflow_jax import backbones, data
from wtflow_jax.app import evaluate, fit
from wtflow_jax.backbones import features
from wtflow_jax.data.framing import Framing
from wtflow_jax.data.sample import Sample
from wtflow_jax.detector import detector, model, route
from wtflow_jax.detector.config import configure
from wtflow_jax.detector.model import Model
from wtflow_jax.flow import ode, scores
from wtflow_jax.lab import scored, store
from wtflow_jax.lab.flags import setup
from wtflow_jax.metrics.threshold import Threshold
from wtflow_jax.support.errors import WTFlowError

SIZE = (64, 96)
COUNT = 19
"""Two whole batches, and one that is filled up."""
RESNET = "resnet18_imagenet1k_v1_folded_layer3.safetensors"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images of the size of a window, good and defective, and one that is scaled."""
    place = tmp_path_factory.mktemp("images")
    for i in range(COUNT - 1):
        trees.write(place / "in" / f"{i:02d}.png", trees.noisy(i, i % 3 == 0, *SIZE))
    trees.write(place / "in" / "scaled.png", trees.noisy(50, True, 80, 120))
    return place


@pytest.fixture(scope="module")
def paths(place):
    return sorted((place / "in").iterdir())


def loaded(name, cache):
    weights = str(shared("weights", RESNET)) if name == "resnet18" else None
    return backbones.load(name, weights=weights, cache=cache)


def noisy(config, maps):
    """A detector whose velocity is not zero, as a network's is at first."""
    found, _ = detector.init(config, jnp.asarray(maps))
    leaves, structure = jax.tree.flatten(found.params)
    draw = np.random.default_rng(0)
    more = [leaf + 0.1 * draw.standard_normal(leaf.shape, np.float32) for leaf in leaves]
    return found._replace(params=jax.tree.unflatten(structure, more))


def made(backbone, fitted):
    training = {"images": 0, "seen": [], "held_out": [0.0], "usual": {}}
    frame, threshold = Framing(SIZE), Threshold(0.65, 0.1)
    return Model(frame, backbone, fitted, threshold, (0.6, 0.7), training, {})


KINDS = [
    ("efficientnet_lite0", {"velocity": "exact", "wt": "whiten"}),
    ("efficientnet_lite0", {"velocity": "unet", "width": 8, "steps_det": 3}),
    ("resnet18", {"velocity": "exact", "wt": "whiten", "preset": "fine", "image_size": "64x96"}),
    ("resnet18", {"velocity": "unet", "width": 8, "wt": "batch_norm", "steps_det": 3}),
]


@pytest.fixture(
    scope="module",
    params=[*KINDS[:2], *(pytest.param(kind, marks=pytest.mark.long) for kind in KINDS[2:])],
    ids=lambda kind: f"{kind[0]}-{kind[1]['velocity']}",
)
def kind(request, place, paths):
    """A model, and the scores of all images by what sets a threshold."""
    name, flags = request.param
    config = configure(backbone=name, **flags)
    layer = config.features.layer
    backbone = loaded(name, place)
    if layer:
        backbone = backbones.load(
            name, layer=layer, weights=str(shared("weights", RESNET)), cache=place
        )
    windows = fit.take(paths, backbone, Framing(SIZE), config.features.dense)
    start = noisy if config.velocity.trained else lambda *given: detector.init(*given)[0]
    fitted = start(config, jnp.asarray(windows.maps[::2]))
    where = route.upsampling(backbone, config, SIZE)
    return made(backbone, fitted), route.predict(fitted, windows.maps, where)


def test_predicting_gives_the_scores_that_set_a_threshold(kind, paths):
    fitted, expected = kind
    results = list(fitted.results(paths))
    np.testing.assert_array_equal([result.score for result in results], expected.scores)
    for result, expected_map in zip(results, expected.maps, strict=True):
        np.testing.assert_array_equal(result.map, expected_map[: len(result.map)])
    # Scores differ from each other, so the comparison is meaningful.
    assert np.ptp(expected.scores) > 1e-3


def test_neither_order_nor_company_changes_a_score(kind, paths):
    """Scores do not depend on an image's place in a batch or on the padding."""
    fitted, expected = kind
    by_path = dict(zip(paths, expected.scores, strict=True))
    order = np.random.default_rng(0).permutation(COUNT)
    for some in (order, order[:3], order[5:6]):
        results = list(fitted.results([paths[i] for i in some]))
        assert [result.score for result in results] == [by_path[paths[i]] for i in some]


def test_evaluating_gives_the_same(kind, paths):
    fitted, expected = kind
    samples = [Sample(path, 0, "good") for path in paths]
    found = evaluate.score(fitted, samples)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_a_saved_model_gives_the_same_and_compiles_nothing(kind, paths, tmp_path):
    fitted, expected = kind
    fitted.predict(paths)
    fitted.save(tmp_path / "model")
    again = model.load(tmp_path / "model")
    with compilations() as found:
        first, second = (again.predict(paths[::step]) for step in (1, -1))
    assert [result.score for result in first] == expected.scores.tolist()
    assert [result.score for result in second] == expected.scores[::-1].tolist()
    assert found == []


def test_one_image_alone_is_a_batch_of_its_own(kind, paths):
    """Another batch shape sums in another order: equal to rounding, same decisions."""
    fitted, expected = kind
    for i in (0, 4, COUNT - 1):
        assert fitted.predict(paths[i]).score == pytest.approx(expected.scores[i], rel=1e-5)


def test_one_trace_a_function(place, paths):
    config = configure(velocity="exact", wt="layer_norm")
    backbone = loaded("efficientnet_lite0", place)
    jax.clear_caches()
    functions = {f"jit({name})" for name in ("taken", "sample", "finished")}
    with compilations() as found:
        windows = fit.take(paths, backbone, Framing(SIZE), False)
        fitted = detector.fit(config, jnp.asarray(windows.maps))
        route.predict(fitted, windows.maps, route.upsampling(backbone, config, SIZE))
        once = made(backbone, fitted)
        once.predict(paths)
    assert sorted(functions & set(found)) == sorted(name for name in found if name in functions)
    # Of the three functions each has one program.
    assert functions <= set(found)
    assert (features.run._cache_size(), route._sample._cache_size()) == (1, 1)
    with compilations() as found:
        once.predict(paths)
        once.predict(paths[:5])
    assert found == []
    with compilations() as found:
        once.predict(paths[0])
    assert functions == set(found)
    with compilations() as found:
        once.predict(paths[1])
    assert found == []


@pytest.mark.long
@pytest.mark.parametrize("velocity", ["exact", "patch"])
def test_an_experiments_row_is_what_a_model_says(velocity, tmp_path):
    """From the files of a run to the same image and pixel scores by ``Model``."""
    trees.mvtec_ad(tmp_path / "data", train=9, good=4, bad=3)
    flags = {"velocity": velocity, "wt": "batch_norm", "image_size": "64", "smoke": True}
    flags |= {"root": tmp_path / "data", "out": tmp_path / "out", "models": tmp_path / "models"}
    flags |= {"cache": tmp_path / "cache"}
    words = [f"--{k.replace('_', '-')}={v}" for k, v in flags.items() if k != "smoke"]
    assert run("mpdd", *words, "--smoke") == 0
    (row,) = rows(tmp_path / "out")
    found = scored.load(tmp_path / "out" / row["scores"])
    fitted = trained(tmp_path, flags)
    training = {"seen": [], "usual": {}}
    whole = Model(Framing((64, 64)), *fitted, Threshold(0.65, 0.1), (0.6, 0.7), training, {})
    results = list(whole.results(map(Path, found.paths)))
    np.testing.assert_array_equal([result.score for result in results], found.scores)
    np.testing.assert_array_equal([result.map for result in results], found.maps)


def trained(place, flags):
    """The backbone and the detector of an experiment's only model."""
    given = setup(flags)
    (directory,) = (place / "models").iterdir()
    backbone = backbones.load("efficientnet_lite0", cache=place / "cache")
    return backbone, store._load(directory, given.config()).detector


@pytest.mark.slow
def test_fit_predict_and_evaluate_agree_from_the_command_line(tmp_path):
    for i in range(9):
        trees.write(tmp_path / "good" / f"{i}.png", trees.noisy(i))
        trees.write(tmp_path / "in" / "good" / f"{i}.png", trees.noisy(100 + i))
        trees.write(tmp_path / "in" / "dent" / f"{i}.png", trees.noisy(200 + i, defect=True))
    assert wtflow("fit", tmp_path / "good", "--out", tmp_path / "m", "--image-size", "64") == 0
    assert wtflow("predict", tmp_path / "m", tmp_path / "in", "--out", tmp_path / "p") == 0
    assert wtflow("evaluate", tmp_path / "m", tmp_path / "in", "--out", tmp_path / "e") == 0
    found = scored.load(next((tmp_path / "e").glob("*/scores.npz")))
    predicted = {row["path"]: float(row["score"]) for row in table(tmp_path / "p")}
    # In another order, so at other places of a batch: on some CPUs that changes the last digit.
    wanted = dict(zip(found.paths, found.scores.tolist(), strict=True))
    assert predicted == pytest.approx(wanted, rel=1e-6)


PATCH = {"velocity": "patch", "width": 8, "start": 0.0, "residual": False}


@pytest.mark.long
@pytest.mark.parametrize(
    "flags",
    [
        pytest.param({"wt": "batch_norm"}, marks=pytest.mark.long),
        {"steps_det": 1, "steps_loc": 3, "centres": "half_pixel", "top_fraction": 0.5},
        pytest.param(
            {"solver": "heun", "steps_det": 2, "steps_loc": 2, "start": 0.3, "power": 0.5},
            marks=pytest.mark.long,
        ),
        pytest.param({"dense": True, "score": "log_density"}, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_scores_are_those_of_the_parts(flags, place, paths):
    """Features, Algorithm 1, upsampling and the mean of the highest pixels, one by one."""
    config = configure(**PATCH | flags)
    backbone = loaded("efficientnet_lite0", place)
    images = np.stack([data.read_image(path, SIZE) for path in paths[:3]])
    maps = features.compute(backbone, images, config.features.dense)
    fitted = noisy(config, maps)
    asked, how = config.inference, detector.sampling(config)
    x0 = fitted.x0(jnp.asarray(maps))

    def cells(steps):
        x1 = ode.push_forward(
            how.velocity_fn, fitted.params, x0, steps=steps, solver=how.solver, t_start=asked.start
        )
        return scores.cell_scores(x1 / (1 - asked.start), config.score)

    where = route.upsampling(backbone, config, SIZE)
    big = scores.upsample(cells(asked.steps_det), where)
    expected = scores.image_scores(big, config.decision.top_fraction)
    found = route.scorer(backbone, fitted, SIZE, 2)(images)
    np.testing.assert_allclose(found.scores, expected, rtol=2e-4)
    small = scores.upsample(cells(asked.steps_loc), where)
    np.testing.assert_allclose(found.maps, small, rtol=2e-4, atol=1e-5)
    run, arrays = route.program(backbone, fitted, SIZE, detector.sampling(fitted.config))
    for part, wanted in zip(jax.jit(run)(arrays, images), found, strict=True):
        np.testing.assert_allclose(part, wanted, rtol=2e-4, atol=1e-5)
    assert np.ptp(expected) > 2e-3 * expected.mean()


def test_a_cell_is_its_own_pixel_of_the_map():
    """Strides of 32 pixels from the first one on."""
    cells = np.random.default_rng(0).uniform(0.6, 1, (2, 11, 4, 4)).astype(np.float32)
    where = scores.upsampling((128, 96), (4, 4), 32, 0.0)
    found = route.finish(route.Cells(*cells), where, 0.1)
    assert (found.scores.shape, found.maps.shape) == ((11,), (11, 128, 96))
    np.testing.assert_allclose(found.maps[:, 64, 32], cells[1, :, 2, 1], rtol=1e-6)
    assert (found.scores <= cells[0].max((1, 2)) + 1e-6).all()
    assert (found.scores >= cells[0].mean((1, 2))).all()


def test_images_of_another_size(place):
    config = configure(width=8)
    backbone = loaded("efficientnet_lite0", place)
    scorer = route.scorer(backbone, noisy(config, np.zeros((2, 2, 3, 80), np.float32)), SIZE)
    for shape in ((1, 32, 32, 3), (0, *SIZE, 3)):
        with pytest.raises(WTFlowError, match=r"give at least one of \(64, 96, 3\), uint8"):
            scorer(np.zeros(shape, np.uint8))
    with pytest.raises(WTFlowError, match=r"float32: give at least one of \(64, 96, 3\), uint8"):
        scorer(np.zeros((1, *SIZE, 3), np.float32))


CAMERA = """
import sys
from pathlib import Path
import jax.numpy as jnp
import numpy as np
from wtflow_jax import backbones
from wtflow_jax.detector import detector, route
from wtflow_jax.detector.config import configure
from wtflow_jax.support import compilation
compilation.keep(Path(sys.argv[1]))
config = configure(velocity="patch", width=8, solver=sys.argv[2])
lite0 = backbones.load("efficientnet_lite0", cache=Path(sys.argv[1]) / "weights")
found, _ = detector.init(config, jnp.zeros((2, 2, 2, 80)))
print(route.scorer(lite0, found, (64, 64))(np.zeros((1, 64, 64, 3), np.uint8)).scores)
"""


@pytest.mark.long
@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_the_next_process_compiles_nothing(solver, tmp_path):
    def once():
        command = [sys.executable, "-c", CAMERA, str(tmp_path), solver]
        environment = {k: v for k, v in os.environ.items() if "COMPILATION" not in k}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout, {path.name for path in tmp_path.glob("*-cache")}

    first, programs = once()
    assert any(name.startswith("jit_finished") for name in programs)
    assert once() == (first, programs)
