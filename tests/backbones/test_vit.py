"""A tiny vision transformer against NumPy, block by block, and its positions against torch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import vits
from scipy.special import erf

from wtflow_jax.backbones import vit, vit_state

run = jax.jit(vit.features, static_argnames=("layers", "net", "attend"))


def cubic(x, a):
    """Keys' kernel of one number."""
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def stretched(net, grid, cells):
    """Positions of an axis in front, cell by cell, as torch's documentation has them."""
    rows = []
    factor = (cells + net.offset) / net.trained
    for i in range(cells):
        at = (i + 0.5) / factor - 0.5
        if net.antialias:
            wide = max(1.0, 1 / factor)
            weights = np.array([cubic((j - at) / wide, -0.5) for j in range(net.trained)])
            rows.append(np.tensordot(weights / weights.sum(), grid, 1))
        else:
            near = np.arange(np.floor(at) - 1, np.floor(at) + 3)
            inside = np.clip(near, 0, net.trained - 1).astype(int)
            rows.append(
                sum(cubic(j - at, -0.75) * grid[k] for j, k in zip(near, inside, strict=True))
            )
    return np.stack(rows)


def reference(net, state, image):
    """Normed patch tokens of every block, in float64, of the authors' tensors as they are."""
    s = {name: value.astype(np.float64) for name, value in state.items()}
    h, w = (side // net.patch for side in image.shape[:2])

    def linear(name, x):
        return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]

    def norm(name, x):
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(var + net.eps) * s[f"{name}.weight"] + s[f"{name}.bias"]

    kernel, tokens = s["patch_embed.proj.weight"], []
    for i in range(h):
        for j in range(w):
            patch = image[i * net.patch :, j * net.patch :][: net.patch, : net.patch]
            tokens.append(np.einsum("ocij,ijc->o", kernel, patch) + s["patch_embed.proj.bias"])
    x, first = np.stack(tokens), s["cls_token"][0]
    if net.trained:
        positions = s["pos_embed"][0]
        first = first + positions[:1]
        grid = positions[1:].reshape(net.trained, net.trained, -1)
        if (h, w) != (net.trained, net.trained):
            grid = stretched(net, grid, h)
            grid = stretched(net, grid.swapaxes(0, 1), w).swapaxes(0, 1)
        x = x + grid.reshape(h * w, -1)
    registers = [s[name][0] for name in ("register_tokens", "storage_tokens") if name in s]
    front = np.concatenate([first, *registers])
    x, before = np.concatenate([front, x]), len(front)

    def turned(token, vector):
        """Pairs (i, i + d/2) of a patch's vector as complex numbers, turned by its place."""
        if net.trained or token < before:
            return vector
        place = divmod(token - before, w)
        at = [2 * (i + 0.5) / n - 1 for i, n in zip(place, (h, w), strict=True)]
        angles = np.concatenate([2 * np.pi * one / s["rope_embed.periods"] for one in at])
        half = net.head // 2
        pairs = (vector[:half] + 1j * vector[half:]) * np.exp(1j * angles)
        return np.concatenate([pairs.real, pairs.imag])

    found = []
    for index in range(net.depth):
        block = f"blocks.{index}."
        y, mixed = norm(f"{block}norm1", x), []
        bias = s[f"{block}attn.qkv.bias"] * s.get(f"{block}attn.qkv.bias_mask", 1.0)
        q, k, v = np.split(y @ s[f"{block}attn.qkv.weight"].T + bias, 3, axis=-1)
        for head in range(net.heads):
            own = np.s_[head * net.head : (head + 1) * net.head]
            qs, ks = (np.stack([turned(i, row[own]) for i, row in enumerate(m)]) for m in (q, k))
            logits = qs @ ks.T / np.sqrt(net.head)
            weights = np.exp(logits - logits.max(-1, keepdims=True))
            mixed.append(weights / weights.sum(-1, keepdims=True) @ v[:, own])
        scale = s[f"{block}ls1.gamma"]
        x = x + scale * linear(f"{block}attn.proj", np.concatenate(mixed, axis=-1))
        y = norm(f"{block}norm2", x)
        if net.gated:
            gate = linear(f"{block}mlp.w1", y)
            y = linear(f"{block}mlp.w3", gate / (1 + np.exp(-gate)) * linear(f"{block}mlp.w2", y))
        else:
            y = linear(f"{block}mlp.fc1", y)
            y = linear(f"{block}mlp.fc2", y * (1 + erf(y / np.sqrt(2))) / 2)
        x = x + s[f"{block}ls2.gamma"] * y
        found.append(norm("norm", x)[before:].reshape(h, w, -1))
    return found


def loaded(net, tmp_path):
    state = vits.official(net)
    params = vit_state.from_state("tiny", net, state, tmp_path / "tiny.pth")
    return state, jax.tree.map(jnp.asarray, params)


@pytest.mark.parametrize("name", vits.NETS)
@pytest.mark.parametrize("cells", [(3, 7), (5, 5), (8, 4)])
def test_blocks_equal_numpy(tmp_path, name, cells):
    net = vits.NETS[name]
    state, params = loaded(net, tmp_path)
    images = np.random.default_rng(1).normal(size=(2, cells[0] * 4, cells[1] * 4, 3))
    maps = run(params, jnp.asarray(images, jnp.float32), layers=tuple(range(net.depth)), net=net)
    for image, *ours in zip(images, *maps, strict=True):
        for found, expected in zip(ours, reference(net, state, image), strict=True):
            assert found.shape == (*cells, net.width)
            np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", vits.NETS)
def test_attention_in_parts_and_at_once(tmp_path, name):
    net = vits.NETS[name]
    _, params = loaded(net, tmp_path)
    images = jnp.asarray(np.random.default_rng(2).normal(size=(3, 12, 16, 3)), jnp.float32)
    (parts,) = run(params, images, layers=(1,), net=net)
    (whole,) = run(params, images, layers=(1,), net=net, attend=vit.attend)
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_every_product_is_of_full_precision(tmp_path):
    """As GPUs would round to TF32."""
    for net in vits.NETS.values():
        _, params = loaded(net, tmp_path)
        images = jax.ShapeDtypeStruct((1, 12, 16, 3), jnp.float32)
        program = run.lower(params, images, layers=(2,), net=net).as_text()
        lines = [line for line in program.splitlines() if "dot_general" in line]
        assert len(lines) >= 6 * net.depth + 1
        assert all("precision = [HIGHEST, HIGHEST]" in line for line in lines)


# Of torch 2.13: interpolate(mode="bicubic") by scale_factor, and by size with antialias=True.
POINTS = [0.0, 1.0, 4.0, 9.0, 16.0, -3.0]
TORCH = {
    (4, 0.1, False): [0.11501703, 2.6434231, 10.672655, 4.3771982],
    (4, 0.0, True): [0.15857436, 2.9770288, 11.958654, 3.9288023],
    (8, 0.1, False): [
        *(-0.07365012, 0.29753852, 1.8148336, 4.5080848),
        *(7.7268553, 15.472703, 11.173952, -3.7061424),
    ],
    (8, 0.0, True): [
        *(-0.05223881, 0.4162769, 1.890625, 4.515625),
        *(8.265625, 15.191406, 9.3994389, -3.9925375),
    ],
}


@pytest.mark.parametrize("how", TORCH)
def test_positions_are_interpolated_as_torch_does(how):
    cells, offset, antialias = how
    table = vit.bicubic(cells, len(POINTS), offset, antialias)
    np.testing.assert_allclose(table @ POINTS, TORCH[how], atol=2e-5)
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-6)


def test_positions_of_the_trained_grid_are_those_that_were_learned():
    np.testing.assert_allclose(vit.bicubic(37, 37, 0.0, True), np.eye(37), atol=1e-7)
    assert np.abs(vit.bicubic(37, 37, 0.1) - np.eye(37)).max() > 0.01
    positions = jnp.arange(25.0).reshape(5, 5, 1)
    assert vit._stretched(vits.LEARNED, positions, 5, 5) is positions


def test_a_cell_is_centred_on_its_patch(tmp_path):
    """The embedding of a patch sees only the patch's pixels."""
    net = vits.ROTARY
    assert net.grid(0) == (4, 1.5)
    _, params = loaded(net, tmp_path)
    dark = jnp.zeros((1, 20, 24, 3))
    base, h, w = vit._tokens(net, params, dark)
    assert (h, w) == (5, 6)
    for row, column in ((0, 0), (7, 9), (19, 23)):
        lit, _, _ = vit._tokens(net, params, dark.at[0, row, column].set(1.0))
        changed = np.abs(np.asarray(lit - base)[0, 1 + net.registers :]).max(-1).reshape(h, w) > 0
        ((i, j),) = np.argwhere(changed)
        for cell, pixel in ((i, row), (j, column)):
            assert abs(net.grid(0).stride * cell + net.grid(0).offset - pixel) <= 1.5
