"""Three formats of a transformer's weights give equal parameters; misfits are named."""

import jax
import numpy as np
import pytest
import vits
from raising import fails

from wtflow_jax.backbones import vit_state


def read(net, state, tmp_path):
    return vit_state.from_state("tiny", net, state, tmp_path / "tiny.safetensors")


@pytest.mark.parametrize("name", vits.NETS)
def test_formats_give_the_same_parameters(tmp_path, name):
    net = vits.NETS[name]
    state = vits.official(net)
    expected = read(net, state, tmp_path)
    assert all(array.dtype == np.float32 for array in jax.tree.leaves(expected))
    for other in (vits.timm, vits.transformers):
        found = read(net, other(net, state), tmp_path)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


def test_timm_leaves_out_biases_that_are_zero(tmp_path):
    net, state = vits.ROTARY, vits.timm(vits.ROTARY, vits.official(vits.ROTARY))
    without = {k: v for k, v in state.items() if not k.endswith(("q_bias", "v_bias"))}
    for block in read(net, without, tmp_path)["blocks"]:
        assert not block["qkv"]["bias"].any()


def test_periods_are_those_of_the_file(tmp_path):
    state = vits.official(vits.ROTARY)
    np.testing.assert_allclose(read(vits.ROTARY, state, tmp_path)["periods"], [1, 10])
    state["rope_embed.periods"] = np.array([1, 9.5], np.float32)
    np.testing.assert_allclose(read(vits.ROTARY, state, tmp_path)["periods"], [1, 9.5])


CASES = {
    "lacks a layer": ("learned", vits.official, "blocks.1.mlp.fc1.weight", None),
    "lacks one of timm": ("rotary", vits.timm, "blocks.2.gamma_2", None),
    "lacks one of transformers": ("learned", vits.transformers, "encoder.layer.0.norm1.bias", None),
    "lacks a bias": ("rotary", vits.transformers, "layer.0.attention.q_proj.bias", None),
    "another shape": ("registers", vits.official, "blocks.0.ls1.gamma", np.ones(7, np.float32)),
    "not finite": ("gated", vits.official, "norm.weight", np.full(16, np.nan, np.float32)),
    "one too many": ("rotary", vits.official, "blocks.3.norm1.weight", np.ones(16, np.float32)),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_named(tmp_path, case):
    name, form, tensor, value = CASES[case]
    net = vits.NETS[name]
    state = vits.official(net)
    state = state if form is vits.official else form(net, state)
    if value is None:
        del state[tensor]
    else:
        state[tensor] = value
    with fails("tiny.safetensors", tensor.removesuffix(".weight"), "give weights of tiny"):
        read(net, state, tmp_path)


def test_weights_of_another_kind(tmp_path):
    """Registers or positions that a network lacks, and files of other networks."""
    given = vits.official(vits.REGISTERS)
    with fails("'register_tokens' has no place in tiny"):
        read(vits.LEARNED, given, tmp_path)
    with fails("no tensor 'register_tokens'"):
        read(vits.REGISTERS, vits.official(vits.LEARNED), tmp_path)
    with fails("no tensor 'storage_tokens'"):
        read(vits.ROTARY, given, tmp_path)
    with fails("no tensor 'patch_embed.proj.weight'"):
        read(vits.ROTARY, {"conv1.weight": np.zeros(3)}, tmp_path)
