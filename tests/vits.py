"""A tiny vision transformer's weights, by the names of each format."""

from functools import partial

import numpy as np
from safetensors.numpy import save_file

from wtflow_jax.backbones import BACKBONES, vit, vit_dino, vit_state
from wtflow_jax.backbones.vit import Architecture

LEARNED = Architecture(4, 16, 3, 2, 24, trained=5, offset=0.1)
REGISTERS = LEARNED._replace(registers=2, offset=0.0, antialias=True)
ROTARY = Architecture(4, 16, 3, 2, 24, registers=2, eps=1e-5)
GATED = ROTARY._replace(gated=True)
NETS = {"learned": LEARNED, "registers": REGISTERS, "rotary": ROTARY, "gated": GATED}


def official(net, seed=0, spread=0.5):
    """Return a random state as the authors' files hold one; keys of DINOv3 have a masked bias."""
    draw, width = np.random.default_rng(seed), net.width

    def tensor(*shape):
        return (spread * draw.normal(size=shape)).astype(np.float32)

    def layer(name, out, before):
        state[f"{name}.weight"], state[f"{name}.bias"] = tensor(out, before), tensor(out)

    def norm(name):
        state[f"{name}.weight"], state[f"{name}.bias"] = 1 + tensor(width), tensor(width)

    state = {"cls_token": tensor(1, 1, width), "mask_token": tensor(1, width)}
    if net.registers:
        name = "register_tokens" if net.trained else "storage_tokens"
        state[name] = tensor(1, net.registers, width)
    if net.trained:
        state["pos_embed"] = tensor(1, 1 + net.trained**2, width)
    else:
        count = net.head // 4
        state["rope_embed.periods"] = (100.0 ** (np.arange(count) / count)).astype(np.float32)
    state["patch_embed.proj.weight"] = tensor(width, 3, net.patch, net.patch)
    state["patch_embed.proj.bias"] = tensor(width)
    for index in range(net.depth):
        block = f"blocks.{index}."
        norm(f"{block}norm1")
        layer(f"{block}attn.qkv", 3 * width, width)
        if not net.trained:
            state[f"{block}attn.qkv.bias_mask"] = np.repeat([1.0, 0.0, 1.0], width)
        layer(f"{block}attn.proj", width, width)
        state[f"{block}ls1.gamma"] = tensor(width)
        norm(f"{block}norm2")
        parts = ("mlp.w1", "mlp.w2", "mlp.w3") if net.gated else ("mlp.fc1", "mlp.fc2")
        for part in parts[:-1]:
            layer(block + part, net.hidden, width)
        layer(block + parts[-1], width, net.hidden)
        state[f"{block}ls2.gamma"] = tensor(width)
    norm("norm")
    return state


def timm(net, state):
    """Return the state as timm has it."""
    new = {}
    for name, value in state.items():
        if name.endswith((".bias_mask", ".periods")) or name == "mask_token":
            continue
        if not net.trained:
            if name.endswith("qkv.bias"):
                q, _, v = np.split(value, 3)
                block = name.removesuffix("qkv.bias")
                new |= {f"{block}q_bias": q, f"{block}v_bias": v}
                continue
            for old, now in (("ls1.gamma", "gamma_1"), ("ls2.gamma", "gamma_2")):
                name = name.replace(old, now)
            for old, now in (("w1", "fc1_g"), ("w2", "fc1_x"), ("w3", "fc2")):
                name = name.replace(f"mlp.{old}", f"mlp.{now}")
        name = name.replace("storage_tokens", "reg_token").replace("register_tokens", "reg_token")
        new[name] = value
    if net.trained and net.registers:
        new["cls_token"] = new["cls_token"] + new["pos_embed"][:, :1]
        new["pos_embed"] = new["pos_embed"][:, 1:]
    return new


def transformers(net, state):
    """Return the state as Hugging Face's transformers have it."""
    new = {}
    words = {"cls_token": "embeddings.cls_token", "mask_token": "embeddings.mask_token"}
    words |= {"register_tokens": "embeddings.register_tokens", "mlp.w1": "mlp.gate_proj"}
    words |= {"storage_tokens": "embeddings.register_tokens", "mlp.w2": "mlp.up_proj"}
    words |= {"ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1"}
    words |= {"pos_embed": "embeddings.position_embeddings", "mlp.w3": "mlp.down_proj"}
    if net.trained:
        words |= {"patch_embed.proj": "embeddings.patch_embeddings.projection"}
        words |= {"blocks.": "encoder.layer.", "attn.proj": "attention.output.dense"}
        qkv = [f"attention.attention.{one}" for one in ("query", "key", "value")]
    else:
        words |= {"patch_embed.proj": "embeddings.patch_embeddings", "blocks.": "layer."}
        words |= {"attn.proj": "attention.o_proj"}
        words |= {"mlp.fc1": "mlp.up_proj", "mlp.fc2": "mlp.down_proj"}
        qkv = ["attention.q_proj", "attention.k_proj", "attention.v_proj"]
    for name, value in state.items():
        if name.endswith((".bias_mask", ".periods")):
            continue
        for old, now in words.items():
            name = name.replace(old, now)
        if name in ("norm.weight", "norm.bias") and net.trained:
            name = f"layer{name}"
        if "attn.qkv" not in name:
            new[name] = value
            continue
        for one, part in zip(qkv, np.split(value, 3), strict=True):
            if net.trained or not (one.endswith("k_proj") and name.endswith("bias")):
                new[name.replace("attn.qkv", one)] = part
    return new


def tiny(name, monkeypatch, directory):
    """Put a network of three blocks and 128 channels behind a name; returns its weights' file."""
    net = vit_dino.ARCHITECTURES[name]._replace(width=128, depth=3, heads=2, hidden=64)
    network = BACKBONES[name]._replace(
        layers=range(net.depth),
        default=net.depth - 1,
        features=partial(vit.features, net=net),
        from_state=partial(vit_state.from_state, name, net),
        channels=lambda block: net.width,
    )
    monkeypatch.setitem(BACKBONES._entries, name, network)
    path = directory / f"{name}.safetensors"
    save_file(official(net, spread=0.1), path)
    return path
