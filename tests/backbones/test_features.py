"""Features: pooling against torch, grids, the cache, and damaged caches."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import trees

from wtflow_jax import backbones
from wtflow_jax import data as datasets
from wtflow_jax.backbones import features
from wtflow_jax.backbones import network as network_of
from wtflow_jax.data.light import factors, lit
from wtflow_jax.support import tensors
from wtflow_jax.support.errors import WTFlowError

SIZE = (64, 96)


@pytest.fixture
def samples(tmp_path):
    trees.mvtec_ad(tmp_path / "data", "bolt")
    return datasets.open_category(tmp_path / "data", "bolt").train


@pytest.fixture(scope="module")
def lite0(tmp_path_factory):
    return backbones.load("efficientnet_lite0", cache=tmp_path_factory.mktemp("cache"))


def test_one_row_an_image_in_order(lite0, samples, tmp_path):
    x = features.extract(lite0, samples, SIZE, tmp_path)
    assert x.shape == (len(samples), 2, 3, 80)
    alone = features.extract(lite0, samples[-1:], SIZE, tmp_path)
    np.testing.assert_allclose(alone[0], x[-1], rtol=1e-4, atol=1e-4)
    assert np.abs(x[0] - x[-1]).max() > 1e-2


def test_features_are_those_of_images_in_other_light(lite0, samples, tmp_path):
    found = features.extract(lite0, samples, SIZE, tmp_path, jitter=0.15)
    light = factors(len(samples), 0.15).tolist()
    images = [
        lit(datasets.read_image(sample.path, SIZE), factor)
        for sample, factor in zip(samples, light, strict=True)
    ]
    np.testing.assert_array_equal(found, features.compute(lite0, np.stack(images)))
    plain = features.extract(lite0, samples, SIZE, tmp_path)
    assert np.abs(plain - found).max() > 0.01
    again = features.extract(lite0, samples, SIZE, tmp_path, jitter=0.15)
    np.testing.assert_array_equal(again, found)


def test_a_second_run_does_no_image_work(lite0, samples, tmp_path, monkeypatch):
    first = features.extract(lite0, samples, SIZE, tmp_path)

    def fail(*args):
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(features, "read_image", fail)
    np.testing.assert_array_equal(features.extract(lite0, samples, SIZE, tmp_path), first)
    for other in (samples[1:], samples[::-1]):
        with pytest.raises(AssertionError, match="decoded"):
            features.extract(lite0, other, SIZE, tmp_path)
    with pytest.raises(AssertionError, match="decoded"):
        features.extract(lite0, samples, (96, 96), tmp_path)


def test_a_changed_image_is_seen(lite0, samples, tmp_path):
    first = features.extract(lite0, samples, SIZE, tmp_path)
    trees.write(samples[0].path, 255 - np.asarray(datasets.read_image(samples[0].path, (64, 64))))
    assert np.abs(features.extract(lite0, samples, SIZE, tmp_path)[0] - first[0]).max() > 0.1


def test_several_layers_share_the_coarsest_grid(samples, tmp_path):
    both = backbones.load("efficientnet_lite0", layer=("block2", "block7"), cache=tmp_path)
    x = features.extract(both, samples, SIZE, tmp_path)
    assert x.shape == (len(samples), 2, 3, 24 + 80)
    assert features.grid(both) == backbones.Grid(32, 15.0)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_pooled_layers_lie_where_the_coarsest_does(name):
    """Of a map whose cells hold their own positions, the pooled cells hold the grid's."""
    network = backbones.BACKBONES[name]
    layers = backbones.parse_layers(name, network.several)
    grids = tuple(network.grid(layer) for layer in layers)
    side = 512

    def apply(params: Any, images: Any) -> Any:
        at = [grid.stride * jnp.arange(side // grid.stride) + grid.offset for grid in grids]
        return [jnp.stack(jnp.meshgrid(x, x, indexing="ij"), -1)[None] for x in at]

    backbone = network_of.assemble(name, layers, {}, "")
    how, where = features.pooling(backbone), features.grid(backbone)
    maps = features.taken(apply, {}, jnp.zeros((1, side, side, 3), jnp.uint8), how)
    centres = where.stride * np.arange(side // where.stride) + where.offset
    expected = np.stack(np.meshgrid(centres, centres, indexing="ij"), -1)
    # Cells at the edge average zeros too.
    for found in np.split(maps[0], len(layers), axis=-1):
        np.testing.assert_allclose(found[1:-1, 1:-1], expected[1:-1, 1:-1], rtol=1e-5)


def test_dense_cells_lie_between_the_others(samples, tmp_path):
    """Every second cell of the dense grid is a cell of the sparse grid, at the same place."""
    both = backbones.load("efficientnet_lite0", layer=("block2", "block7"), cache=tmp_path)
    sparse = features.extract(both, samples, SIZE, tmp_path)
    dense = features.extract(both, samples, SIZE, tmp_path, dense=True)
    assert dense.shape == (len(samples), 4, 6, 24 + 80)
    np.testing.assert_allclose(dense[:, ::2, ::2], sparse, rtol=1e-4, atol=1e-4)
    assert features.grid(both, dense=True) == backbones.Grid(16, 15.0)


@pytest.mark.parametrize("stride", [1, 2])
def test_pooling_is_torchs(stride):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra dev)")
    x = np.random.default_rng(0).normal(size=(2, 8, 6, 3)).astype(np.float32)
    theirs = torch.nn.functional.avg_pool2d(torch.from_numpy(x.transpose(0, 3, 1, 2)), 3, stride, 1)
    ours = features.pool(jnp.asarray(x), stride)
    np.testing.assert_allclose(ours, theirs.numpy().transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-6)


def test_everything_takes_the_same_bits(lite0, samples, tmp_path):
    images = np.stack([datasets.read_image(sample.path, SIZE) for sample in samples])
    whole = features.compute(lite0, images)
    np.testing.assert_array_equal(features.extract(lite0, samples, SIZE, tmp_path), whole)
    few = features.batched(lite0, ((Path(str(i)), image) for i, image in enumerate(images[:3])))
    np.testing.assert_array_equal(np.concatenate(list(few)), whole[:3])
    one = features.compute(lite0, images[:2], batch=1)
    np.testing.assert_allclose(one, whole[:2], rtol=1e-4, atol=1e-4)


def cache_file(tmp_path):
    (path,) = (tmp_path / "features").glob("*.safetensors")
    return path


def test_a_cache_of_another_version_is_not_taken(lite0, samples, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "VERSION", 0)
    features.extract(lite0, samples, SIZE, tmp_path)
    monkeypatch.undo()
    before = cache_file(tmp_path)
    features.extract(lite0, samples, SIZE, tmp_path)
    # Each version keeps its own features.
    assert before in set((tmp_path / "features").iterdir())
    assert len(set((tmp_path / "features").iterdir())) == 2


@pytest.mark.parametrize("damage", ["truncated", "foreign", "flipped", "earlier"])
def test_a_damaged_cache_is_named_and_computed_anew(lite0, samples, tmp_path, damage, capsys):
    expected = features.extract(lite0, samples, SIZE, tmp_path)
    path = cache_file(tmp_path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "foreign":
        tensors.save(path, {"features": expected}, {"version": features.VERSION})
    elif damage == "earlier":
        # As it was written before: the digest beside the description.
        arrays, metadata = tensors.read(path)
        digest, _, about = metadata["about"].partition(" ")
        path.write_bytes(safetensors.numpy.save(arrays, {"about": about, "digest": digest}))
    else:
        data = bytearray(path.read_bytes())
        data[-1000] ^= 1
        path.write_bytes(data)
    np.testing.assert_array_equal(features.extract(lite0, samples, SIZE, tmp_path), expected)
    told = capsys.readouterr().err
    assert told.startswith(f"{path}: cannot be used (")
    assert told.endswith("); computed again\n")
    told = told.removeprefix(str(path))
    assert ("of an earlier version" in told) == (damage == "earlier")
    assert ("damaged" in told) == (damage == "flipped")
    np.testing.assert_array_equal(tensors.load(path)[0]["features"], expected)


def test_what_a_killed_process_left_goes(lite0, samples, tmp_path):
    left = tmp_path / "features" / f"a.{'0' * 32}.part"
    left.parent.mkdir()
    left.touch()
    features.extract(lite0, samples, SIZE, tmp_path)
    assert set(left.parent.iterdir()) == {cache_file(tmp_path)}


def test_features_that_are_not_finite_name_the_image(lite0, samples, tmp_path):
    params = {**lite0.params, "stem": {**lite0.params["stem"]}}
    params["stem"]["bias"] = params["stem"]["bias"] * np.nan
    broken = lite0._replace(params=params, digest="0")
    with pytest.raises(WTFlowError, match=rf"{samples[0].path.name}: .* check its --weights"):
        features.extract(broken, samples, SIZE, tmp_path)
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob("*.safetensors"))
