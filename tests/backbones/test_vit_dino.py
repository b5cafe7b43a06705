"""The table of DINOv2 and DINOv3, and its entries from a file to features."""

import jax.numpy as jnp
import numpy as np
import pytest
import trees
import vits
from raising import fails

from wtflow_jax import backbones
from wtflow_jax.backbones import features, vit_dino
from wtflow_jax.backbones.weights import Download
from wtflow_jax.data import Sample, read_image
from wtflow_jax.support.errors import WTFlowError


@pytest.mark.parametrize("name", vit_dino.ARCHITECTURES)
def test_an_entry_says_what_it_takes_and_gives(name):
    network, net = backbones.BACKBONES[name], vit_dino.ARCHITECTURES[name]
    patch = 14 if "dinov2" in name else 16
    assert (network.multiple, network.sizes, network.pooled) == (patch, (448, 672), False)
    assert network.grid(3) == ((14, 6.5) if patch == 14 else (16, 7.5))
    assert not network.rectified
    assert net.head == 64
    quarters = (5, 11, 17, 23) if "vitl" in name else (2, 5, 8, 11)
    assert backbones.parse_layers(name, network.several) == quarters
    assert backbones.parse_layers(name) == quarters[-1:]
    # The authors' grid is stretched by a tenth of a cell where there are no registers.
    plain = name.endswith("14")
    assert (net.offset, net.antialias) == (0.1 if plain else 0.0, name.endswith("_reg"))


def test_published_files(tmp_path):
    found = {name: backbones.BACKBONES[name].official for name in vit_dino.ARCHITECTURES}
    downloads = {name: one for name, one in found.items() if isinstance(one, Download)}
    assert set(downloads) == {name for name in found if "dinov2" in name}
    assert len({one.sha256 for one in downloads.values()}) == len(downloads)
    base = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14"
    assert downloads["dinov2_vits14"].url == f"{base}_pretrain.pth"
    assert downloads["dinov2_vits14_reg"].url == f"{base}_reg4_pretrain.pth"
    with fails("dinov3_vits16", "give --weights PATH"):
        backbones.load("dinov3_vits16", cache=tmp_path)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    return lambda name: vits.tiny(name, monkeypatch, tmp_path)


@pytest.mark.parametrize(("name", "size"), [("dinov2_vits14_reg", 56), ("dinov3_vits16", 64)])
def test_from_a_file_to_features(tiny, tmp_path, name, size):
    path = tiny(name)
    backbone = backbones.load(name, layer="block1,block2", weights=str(path), cache=tmp_path)
    shown = size, size + backbone.grids[0].stride
    paths = [trees.write(tmp_path / f"{i}.png", trees.noisy(i, False, 90, 80)) for i in range(3)]
    samples = [Sample(path, 0, "good") for path in paths]
    found = features.extract(backbone, samples, shown, tmp_path)
    assert found.shape == (3, *features.shape(backbone, shown)) == (3, 4, 5, 256)
    # Nothing is pooled: cells are patches, and neither way of pooling changes them.
    again = features.extract(backbone, samples, shown, tmp_path, dense=True)
    np.testing.assert_array_equal(again, found)
    assert features.grid(backbone) == features.grid(backbone, True) == backbone.grids[0]
    images = np.stack([read_image(path, shown) for path in paths])
    maps = backbone.apply(backbone.params, backbones.normalise(jnp.asarray(images)))
    np.testing.assert_allclose(found, np.concatenate(maps, axis=-1), atol=1e-4)


def test_weights_of_another_network(tiny, tmp_path):
    path = tiny("dinov2_vits14")
    with pytest.raises(WTFlowError, match="in dinov2_vitb14 it has"):
        backbones.load("dinov2_vitb14", weights=str(path), cache=tmp_path)
