"""Parameters of a vision transformer from a state dict, by the names of three formats.

The formats are the authors' ``.pth`` files (facebookresearch/dinov2, dinov3), timm, and Hugging
Face's transformers.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from wtflow_jax.backbones.vit import Architecture
from wtflow_jax.backbones.weights import Reader, State
from wtflow_jax.flow.types import Params

Linear = dict[str, np.ndarray]


class Names(NamedTuple):
    """The names of a format's tensors.

    Attributes:
        block: prefix of a block's names; ``{}`` is its number, from 0.
        qkv: one linear layer, or three.
        biases: biases of q, k and v, if not named after the layer.
        scales: LayerScale after attention and after the MLP.
        mlp: up and down.
        gated: gate, up and down.
        has_class: whether the first position is the class token's.
    """

    token: str = "cls_token"
    registers: str = "register_tokens"
    positions: str = "pos_embed"
    has_class: bool = True
    patch: str = "patch_embed.proj"
    block: str = "blocks.{}."
    qkv: tuple[str, ...] = ("attn.qkv",)
    biases: tuple[str, ...] = ()
    project: str = "attn.proj"
    scales: tuple[str, str] = ("ls1.gamma", "ls2.gamma")
    mlp: tuple[str, str] = ("mlp.fc1", "mlp.fc2")
    gated: tuple[str, str, str] = ("mlp.w1", "mlp.w2", "mlp.w3")
    norm: str = "norm"


DINOV2 = Names()
DINOV3 = Names(registers="storage_tokens")
# timm adds the class token's position to the token where there are registers.
TIMM_DINOV2 = Names(registers="reg_token", has_class=False)
TIMM_DINOV3 = Names(
    registers="reg_token",
    biases=("attn.q_bias", "attn.k_bias", "attn.v_bias"),
    scales=("gamma_1", "gamma_2"),
    gated=("mlp.fc1_g", "mlp.fc1_x", "mlp.fc2"),
)
HF_DINOV2 = Names(
    token="embeddings.cls_token",
    registers="embeddings.register_tokens",
    positions="embeddings.position_embeddings",
    patch="embeddings.patch_embeddings.projection",
    block="encoder.layer.{}.",
    qkv=tuple(f"attention.attention.{one}" for one in ("query", "key", "value")),
    project="attention.output.dense",
    scales=("layer_scale1.lambda1", "layer_scale2.lambda1"),
    norm="layernorm",
)
HF_DINOV3 = HF_DINOV2._replace(
    patch="embeddings.patch_embeddings",
    block="layer.{}.",
    qkv=("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    project="attention.o_proj",
    mlp=("mlp.up_proj", "mlp.down_proj"),
    gated=("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
    norm="norm",
)
FORMATS = {
    "learned": (DINOV2, TIMM_DINOV2, HF_DINOV2),
    "rotary": (DINOV3, TIMM_DINOV3, HF_DINOV3),
}
"""Formats by the kind of positions; the first is the authors'."""


def _format(net: Architecture, state: State) -> Names:
    """Return the names that a state uses; the authors' names if no format fits."""
    known = FORMATS["learned" if net.trained else "rotary"]
    for names in known:
        tokens = (names.token, *(names.registers,) * bool(net.registers))
        block = names.block.format(0)
        if all(name in state for name in (*tokens, block + names.scales[0])):
            return names
    return known[0]


class LinearReader(Reader):
    """Takes linear layers, each a dict of ``weight`` (i, o) and ``bias`` (o,), float32."""

    def vector(self, name: str, size: int) -> np.ndarray:
        """Return a tensor of ``size`` numbers."""
        return self.take(name, (size,)).astype(np.float32)

    def norm(self, name: str, width: int) -> Linear:
        """Return scale and shift of a layer norm."""
        layer = {part: self.vector(f"{name}.{part}", width) for part in ("weight", "bias")}
        self.finite(repr(name), *layer.values())
        return layer

    def linear(self, name: str, out: int, width: int, scale: str | None = None) -> Linear:
        """Return a layer from ``width`` to ``out`` channels, LayerScale folded in."""
        weight, bias = self.take(f"{name}.weight", (out, width)), self.take(f"{name}.bias", (out,))
        return self.folded(name, weight, bias, 1.0 if scale is None else self.take(scale, (out,)))

    def folded(
        self, name: str, weight: np.ndarray, bias: np.ndarray, scale: np.ndarray | float
    ) -> Linear:
        """Return a layer of weight (o, i) and bias (o,), with outputs scaled; float64 inside."""
        factor = np.broadcast_to(np.asarray(scale, np.float64), bias.shape)
        with np.errstate(invalid="ignore", over="ignore"):
            columns = np.ascontiguousarray((weight * factor[:, None]).T, np.float32)
            layer = {"weight": columns, "bias": (bias * factor).astype(np.float32)}
        self.finite(repr(name), *layer.values())
        return layer

    def qkv(self, net: Architecture, names: Names, block: str) -> Linear:
        """Return one layer of queries (divided by √d), keys and values."""
        width, many = net.width, len(names.qkv)
        weights = [
            self.take(f"{block}{one}.weight", (3 * width // many, width)) for one in names.qkv
        ]
        if many == 1 and not names.biases:
            biases = np.split(self.take(f"{block}{names.qkv[0]}.bias", (3 * width,)), 3)
        else:
            called = names.biases or tuple(f"{one}.bias" for one in names.qkv)
            biases = [self._bias(net, names, block, called, i) for i in range(3)]
        if not net.trained:
            biases[1] = np.zeros(width)
        scale = np.repeat([net.head**-0.5, 1, 1], width)
        return self.folded(
            block + names.qkv[0], np.concatenate(weights), np.concatenate(biases), scale
        )

    def _bias(
        self, net: Architecture, names: Names, block: str, called: tuple[str, ...], i: int
    ) -> np.ndarray:
        # DINOv3's keys have no bias, or a masked one; timm omits biases that are all zero.
        may_lack = not net.trained and (i == 1 or bool(names.biases))
        if may_lack and block + called[i] not in self:
            return np.zeros(net.width)
        return self.take(block + called[i], (net.width,))


def from_state(name: str, net: Architecture, state: State, path: Path) -> Params:
    """Build the parameters from the names of a format; see ``Network``.

    Returns:
        ``patch``, a linear layer of a patch's pixels; ``prefix`` (1 + registers, c): class token
        and registers; ``positions`` (trained, trained, c) or ``periods`` of rotations (d / 4,);
        ``blocks``: for each block its norms and linear layers by name; ``norm``.
    """
    names, reader, width = _format(net, state), LinearReader(name, state, path), net.width
    pixels = (width, 3, net.patch, net.patch)
    patch, bias = (
        reader.take(f"{names.patch}.{part}", shape)
        for part, shape in (("weight", pixels), ("bias", (width,)))
    )
    rows = patch.transpose(0, 2, 3, 1).reshape(width, -1)
    params: Params = {"patch": reader.folded(names.patch, rows, bias, 1.0)}
    token = reader.take(names.token, (1, 1, width))[0].astype(np.float32)
    if net.trained:
        cells = net.trained**2
        learned = reader.take(names.positions, (1, names.has_class + cells, width))[0]
        learned = learned.astype(np.float32)
        token = token + learned[:1] if names.has_class else token
        params["positions"] = learned[-cells:].reshape(net.trained, net.trained, width)
        reader.finite(repr(names.positions), learned)
    else:
        params["periods"] = periods(net, reader)
    parts = [token]
    if net.registers:
        parts.append(reader.take(names.registers, (1, net.registers, width))[0])
    params["prefix"] = np.concatenate(parts).astype(np.float32)
    reader.finite(repr(names.token), params["prefix"])
    params["blocks"] = [
        _block(net, names, reader, names.block.format(index)) for index in range(net.depth)
    ]
    params["norm"] = reader.norm(names.norm, width)
    used = (names.block.split("{")[0], names.registers, names.positions)
    reader.finish(used, (".bias_mask",))
    return params


def periods(net: Architecture, reader: Reader) -> np.ndarray:
    """Return RoPE's periods, 100^(4i/d), from the file if it has them, as DINOv3 does.

    The authors' files have them rounded to bfloat16; the other formats do not have them.
    """
    count = net.head // 4
    if "rope_embed.periods" in reader:
        return reader.take("rope_embed.periods", (count,)).astype(np.float32)
    return (100.0 ** (np.arange(count) / count)).astype(np.float32)


def _block(net: Architecture, names: Names, reader: LinearReader, block: str) -> Params:
    width, hidden = net.width, net.hidden
    *gate, up, down = names.gated if net.gated else names.mlp
    first, second = (block + scale for scale in names.scales)
    layers: Params = {
        "norm1": reader.norm(f"{block}norm1", width),
        "qkv": reader.qkv(net, names, block),
        "project": reader.linear(block + names.project, width, width, first),
        "norm2": reader.norm(f"{block}norm2", width),
        "up": reader.linear(block + up, hidden, width),
        "down": reader.linear(block + down, width, hidden, second),
    }
    if gate:
        layers["gate"] = reader.linear(block + gate[0], hidden, width)
    return layers
