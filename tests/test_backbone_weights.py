"""Where weights come from, and which are refused."""

import hashlib
import re
import urllib.request

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
    assert "'layer1.0.conv1.weight' is (64, 64, 3, 3)" in message
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
        folded, shift = weights.fold_batch_norm(weight, start, **norm, eps=0.1)
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
        weights.load_state(tmp_path / "none.pth")
    with pytest.raises(WTFlowError, match="no such weights file"):
        weights.resolve("resnet18", str(tmp_path / "none.pth"), tmp_path)


def test_download_is_checked_and_kept(tmp_path, monkeypatch):
    origin, cache = tmp_path / "net-1234.pth", tmp_path / "cache"
    origin.write_bytes(b"weights" * 1000)
    digest = weights.file_digest(origin)
    assert digest == hashlib.sha256(origin.read_bytes()).hexdigest()

    # A file in place of the network.
    monkeypatch.setattr(weights, "_open", lambda url: urllib.request.urlopen(origin.as_uri()))

    def official(sha256):
        source = weights.Download("https://nowhere/net-1234.pth", sha256)
        monkeypatch.setitem(weights.OFFICIAL, "resnet18", source)

    official("0" * 64)
    with pytest.raises(WTFlowError, match=f"SHA-256 {digest}, expected 0000"):
        weights.resolve("resnet18", None, cache)
    assert list((cache / "weights").iterdir()) == []

    official(digest)
    path = weights.resolve("resnet18", None, cache)
    assert path == cache / "weights" / "net-1234.pth"
    assert path.read_bytes() == origin.read_bytes()

    path.write_bytes(b"cut short")
    assert weights.file_digest(weights.resolve("resnet18", None, cache)) == digest
    origin.unlink()
    assert weights.resolve("resnet18", None, cache) == path
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("url", ["http://a/b.pth", "ftp://a/b.pth", "file:///etc/passwd"])
def test_what_is_no_https_is_not_downloaded(url, tmp_path, monkeypatch):
    monkeypatch.setitem(weights.OFFICIAL, "resnet18", weights.Download(url, "00"))
    with fails(url, "is no HTTPS", "--weights PATH"):
        weights.resolve("resnet18", None, tmp_path)
    request = urllib.request.Request("https://a/b.pth")
    with fails(url, "is no HTTPS"):
        weights._Redirects().redirect_request(request, None, 302, "", {}, url)
    elsewhere = weights._Redirects().redirect_request(request, None, 302, "", {}, "https://c/d")
    assert elsewhere.full_url == "https://c/d"


def test_published_digests_are_whole():
    assert all(re.fullmatch("[0-9a-f]{64}", source.sha256) for source in weights.OFFICIAL.values())


def test_without_a_network_a_path_is_asked_for(tmp_path, monkeypatch):
    nowhere = weights.Download("https://127.0.0.1:9/resnet18.pth", "00")
    monkeypatch.setitem(weights.OFFICIAL, "resnet18", nowhere)
    with pytest.raises(WTFlowError, match="--weights PATH") as caught:
        weights.resolve("resnet18", None, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_backbone_without_published_weights_asks_for_them(tmp_path, monkeypatch):
    monkeypatch.setitem(backbones.NETWORKS, "mine", backbones.NETWORKS["resnet18"])
    with pytest.raises(WTFlowError, match=r"^backbone 'mine': has no published weights; give --"):
        backbones.load("mine", cache=tmp_path)
