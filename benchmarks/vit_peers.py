"""Runs vision transformers of timm and transformers with random weights; a peer's process.

    python benchmarks/vit_peers.py parity NAME DIRECTORY HxW...
    python benchmarks/vit_peers.py speed NAME WEIGHTS SIZE REPEATS BATCH...

Needs torch, timm and transformers. ``parity`` writes the weights in both libraries' formats and the
normalised patch tokens of every block. vit_parity.py and vit_speed.py run this script.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

if "+cpu" in torch.__version__:
    # PyPI's torchvision is for CUDA: beside a CPU torch its operators are missing, but not needed.
    for operator in ("nms", "qnms"):
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{operator}", schema)
import timm
import transformers

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
transformers.utils.logging.disable_progress_bar()

SIZES = {"vits": "small", "vitb": "base", "vitl": "large"}


def timm_model(name: str, size: tuple[int, int]) -> torch.nn.Module:
    family, _, kind = name.partition("_")
    words = SIZES[kind[:4]], "plus" if "plus" in kind else "", f"patch{kind[4:6]}"
    words += ("reg4" if "reg" in kind else "", family, "qkvb" if family == "dinov3" else "")
    called = "_".join(word for word in ("vit", *words) if word)
    return timm.create_model(called, num_classes=0, img_size=size).eval()


def randomise(model: torch.nn.Module) -> None:
    """Draw weights for which attention is neither uniform nor on a single token."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=draw)
            if "gamma" in name:
                value.copy_(0.3 + 0.1 * noise)
            elif "norm" in name and name.endswith("weight"):
                value.copy_(1 + 0.2 * noise)
            elif value.ndim > 1 and "token" not in name and "pos_embed" not in name:
                value.copy_(noise / value[0].numel() ** 0.5)
            else:
                value.copy_(0.3 * noise)


def positions(learned: torch.Tensor, h: int, w: int) -> torch.Tensor:
    """Resize positions as for DINOv2's checkpoints without registers."""
    if (h, w) == (37, 37):
        return learned
    grid = learned[:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, scale_factor=((h + 0.1) / 37, (w + 0.1) / 37), mode="bicubic")
    return torch.cat([learned[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def normed(pictures: np.ndarray) -> torch.Tensor:
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (MEAN, STD))
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255 - mean) / std


def transformers_model(name: str, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """Return the transformers model with the weights of timm's state."""
    width, hidden = state["cls_token"].shape[-1], state["blocks.0.mlp.fc2.weight"].shape[1]
    depth = sum(key.endswith(".norm1.weight") for key in state)
    own = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": width // 64}
    if "dinov3" in name:
        own |= {"intermediate_size": hidden, "num_register_tokens": 4, "patch_size": 16}
        own |= {"use_gated_mlp": True, "hidden_act": "silu"} if "plus" in name else {}
        model = transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**own))
    elif "reg" in name:
        own |= {"image_size": 518, "patch_size": 14, "num_register_tokens": 4}
        model = transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**own))
    else:
        own |= {"image_size": 518, "patch_size": 14}
        model = transformers.Dinov2Model(transformers.Dinov2Config(**own))
    new = model.state_dict()
    for key in new:
        value = theirs(key, state)
        if value is not None:
            assert new[key].shape == value.shape, key
            new[key] = value
    model.load_state_dict(new)
    return model.eval()


def theirs(key: str, state: dict[str, torch.Tensor]) -> torch.Tensor | None:
    """Return the tensor of timm's state for a key of transformers; None for the mask token."""
    words = {"encoder.layer.": "blocks.", "model.layer.": "blocks."}
    words |= {"patch_embeddings.projection": "patch_embed.proj", "layernorm.": "norm."}
    words |= {"patch_embeddings": "patch_embed.proj", "position_embeddings": "pos_embed"}
    words |= {"attention.o_proj": "attn.proj", "register_tokens": "reg_token"}
    for number in "12":
        scale = f"ls{number}.gamma" if "blocks.0.ls1.gamma" in state else f"gamma_{number}"
        words |= {f"layer_scale{number}.lambda1": scale}
    gated = "blocks.0.mlp.fc1_g.weight" in state
    words |= {"gate_proj": "fc1_g", "up_proj": "fc1_x" if gated else "fc1", "down_proj": "fc2"}
    key = key.removeprefix("embeddings.")
    for old, now in words.items():
        key = key.replace(old, now)
    if key == "mask_token":
        return None
    if key == "pos_embed" and "reg_token" in state:
        # timm adds the class token's position to the token itself.
        return torch.cat([torch.zeros_like(state["cls_token"]), state["pos_embed"]], dim=1)
    for i, one in enumerate("qkv"):
        if f"attention.{one}_proj" in key:
            block, _, part = key.partition(f"attention.{one}_proj")
            if part == ".bias" and f"{block}attn.{one}_bias" in state:
                return state[f"{block}attn.{one}_bias"]
            return state[f"{block}attn.qkv{part}"].chunk(3)[i]
    return state[key]


def outputs(model: torch.nn.Module, layers: torch.nn.ModuleList, x: torch.Tensor) -> list:
    """Return the output of each layer."""
    kept = []
    hooks = [layer.register_forward_hook(lambda _, __, out: kept.append(out)) for layer in layers]
    model(x)
    for hook in hooks:
        hook.remove()
    return kept


def parity(name: str, place: Path, sizes: list[tuple[int, int]]) -> None:
    model = timm_model(name, sizes[0])
    learned = None
    if "dinov2" in name:
        # 37 × 37 patches, as in the published files.
        model = timm_model(name, (518, 518))
    randomise(model)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    learned = state.get("pos_embed")
    torch.save(state, place / "timm.pth")
    other = transformers_model(name, state)
    other.save_pretrained(place / "transformers")
    layers = (getattr(other, "encoder", None) or other.model).layer
    norm = getattr(other, "layernorm", None) or other.norm
    registers = 4 if "reg_token" in state else 0
    for height, width in sizes:
        picture = np.random.default_rng(height).integers(0, 256, (1, height, width, 3), np.uint8)
        patch = model.patch_embed.patch_size[0]
        h, w = height // patch, width // patch
        sized = timm_model(name, (height, width))
        own = dict(state)
        if learned is not None and registers:
            grid = learned.reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
            grid = F.interpolate(grid, size=(h, w), mode="bicubic", antialias=True)
            own["pos_embed"] = grid.permute(0, 2, 3, 1).flatten(1, 2)
        elif learned is not None:
            own["pos_embed"] = positions(learned, h, w)
        sized.load_state_dict(own)
        found = {"picture": picture}
        with torch.inference_mode():
            x = normed(picture)
            maps = sized.forward_intermediates(x, norm=True, intermediates_only=True)
            for i, one in enumerate(maps):
                found[f"timm {i}"] = one.permute(0, 2, 3, 1).numpy()
            # transformers resizes DINOv2's positions differently.
            if learned is None or (h, w) == (37, 37):
                kept = outputs(other, layers, x)
                for i, one in enumerate(kept):
                    tokens = norm(one[0] if isinstance(one, tuple) else one)
                    patches = tokens[:, 1 + registers :].reshape(1, h, w, -1)
                    found[f"transformers {i}"] = patches.numpy()
        np.savez(place / f"{height}x{width}.npz", **found)  # pyright: ignore
    print(json.dumps({"torch": torch.__version__, "timm": timm.__version__}))


def speed(name: str, weights: Path, size: int, repeats: int, batches: list[int]) -> None:
    model = timm_model(name, (518, 518) if "dinov2" in name else (size, size))
    if not weights.exists():
        randomise(model)
        torch.save(model.state_dict(), weights)
    model = timm_model(name, (size, size))
    figures = {}
    for batch in batches:
        pictures = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
        seconds = []
        with torch.inference_mode():
            for i in range(repeats + 2):
                start = time.perf_counter()
                model.forward_features(normed(pictures)).numpy()
                if i >= 2:
                    seconds.append(time.perf_counter() - start)
        figures[f"batch {batch}"] = float(np.median(seconds))
    print(json.dumps(figures))


def main() -> None:
    what, name, place, *rest = sys.argv[1:]
    if what == "parity":
        sizes = [(int(h), int(w)) for h, w in (size.split("x") for size in rest)]
        parity(name, Path(place), sizes)
    else:
        size, repeats, *batches = map(int, rest)
        speed(name, Path(place), size, repeats, batches)


if __name__ == "__main__":
    main()
