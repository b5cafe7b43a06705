"""Pretrained networks whose feature maps the flow models: pure functions of params and images."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from wtflow_jax.backbones import efficientnet_lite, resnet
from wtflow_jax.backbones import weights as weight_files
from wtflow_jax.errors import WTFlowError
from wtflow_jax.types import Features, Params

NAMES = ("resnet18", "resnet34", "wide_resnet50_2", "efficientnet_lite0")
DEFAULT_LAYER = {
    "resnet18": 3,
    "resnet34": 3,
    "wide_resnet50_2": 3,
    "efficientnet_lite0": 7,
}

MEAN = (0.485, 0.456, 0.406)
"""ImageNet's mean, RGB in [0, 1]."""
STD = (0.229, 0.224, 0.225)
"""ImageNet's standard deviation, RGB in [0, 1]."""

ApplyFn = Callable[[Params, Float[Array, "n h w 3"]], tuple[Features, ...]]


class Grid(NamedTuple):
    """Where a map's cells lie: cell i is centred on pixel ``stride * i + offset``, from 0."""

    stride: int
    offset: float


class Backbone(NamedTuple):
    """A pretrained network cut at some layers.

    Attributes:
        name: one of ``NAMES``.
        layers: stages 1 to 3 of a ResNet, or block numbers from 0.
        apply: ``apply(params, images) -> one map a layer``; pure, and the same object for the same
            name and layers, so that ``jax.jit`` traces it once. Images: see ``normalise``.
        params: its weights, float32.
        digest: SHA-256 of the weights file.
        channels: of each map.
        grids: of each map, for image sizes divisible by 32.
    """

    name: str
    layers: tuple[int, ...]
    apply: ApplyFn
    params: Params
    digest: str
    channels: tuple[int, ...]
    grids: tuple[Grid, ...]


def normalise(images: UInt8[Array, "n h w 3"]) -> Float[Array, "n h w 3"]:
    """Return uint8 RGB images as the networks take them: float32, less ``MEAN``, over ``STD``."""
    scale, shift = 1 / (255 * np.array(STD)), np.array(MEAN) / np.array(STD)
    return images.astype(jnp.float32) * scale.astype(np.float32) - shift.astype(np.float32)


def _check_name(name: str) -> None:
    if name not in NAMES:
        raise WTFlowError(f"backbone {name!r}: not known; choose from {', '.join(NAMES)}")


def parse_layers(name: str, layer: Sequence[str | int] | str | int = ()) -> tuple[int, ...]:
    """Read which layers are meant.

    Args:
        name: one of ``NAMES``.
        layer: stages ("layer3", "3", 3) or blocks ("block7", "7", 7), several also by commas;
            empty takes ``DEFAULT_LAYER``.

    Returns:
        The numbers, ascending, each once.

    Raises:
        WTFlowError: a backbone or layer that does not exist.
    """
    _check_name(name)
    lite = name == "efficientnet_lite0"
    word, first, last = ("block", 0, len(efficientnet_lite.BLOCKS) - 1) if lite else ("layer", 1, 3)
    asked = [layer] if isinstance(layer, str | int) else layer
    parts = [part.strip() for item in asked for part in str(item).split(",")]
    numbers = set()
    for part in filter(None, parts):
        match = re.fullmatch(rf"(?:{word})?([0-9]{{1,2}})", part)
        if match is None or not first <= int(match[1]) <= last:
            raise WTFlowError(
                f"layer {part!r}: {name} has {word}{first} to {word}{last}, "
                f"several as {word}{last - 1} {word}{last}"
            )
        numbers.add(int(match[1]))
    return tuple(sorted(numbers)) or (DEFAULT_LAYER[name],)


@lru_cache
def _apply(name: str, layers: tuple[int, ...]) -> ApplyFn:
    module = efficientnet_lite if name == "efficientnet_lite0" else resnet
    return partial(module.features, layers=layers)


def load(
    name: str,
    *,
    layer: Sequence[str | int] | str | int = (),
    weights: str | None = None,
    cache: Path,
) -> Backbone:
    """Load a pretrained backbone.

    Args:
        name: one of ``NAMES``.
        layer: see ``parse_layers``.
        weights: a ``.safetensors``, ``.pth`` or ``.pt`` file; None takes the official ones, from
            the installed package for EfficientNet-Lite0, by download for the ResNets.
        cache: downloads are kept in its folder ``weights``.

    Returns:
        The backbone, its params on the default device.

    Raises:
        WTFlowError: an unknown name or layer, no weights, or weights of another network.
    """
    layers = parse_layers(name, layer)
    path = weight_files.resolve(name, weights, cache)
    state = weight_files.load_state(path)
    if name == "efficientnet_lite0":
        params = efficientnet_lite.from_state(state, path)
    else:
        params = resnet.from_state(name, state, path)
    return assemble(name, layers, params, weight_files.file_digest(path))


def assemble(name: str, layers: tuple[int, ...], params: Params, digest: str) -> Backbone:
    """Return a backbone of parameters that are at hand.

    Args:
        name: one of ``NAMES``.
        layers: of ``parse_layers``.
        params: as ``load`` finds them.
        digest: of the file they were read from.

    Raises:
        WTFlowError: an unknown name.
    """
    _check_name(name)
    if name == "efficientnet_lite0":
        channels = tuple(efficientnet_lite.BLOCKS[block].after for block in layers)
        grids = tuple(Grid(*efficientnet_lite.grid(block)) for block in layers)
    else:
        channels = tuple(resnet.ARCHITECTURES[name].channels[stage - 1] for stage in layers)
        grids = tuple(Grid(resnet.STRIDES[stage], 0.0) for stage in layers)
    params = jax.tree.map(jnp.asarray, params)
    return Backbone(name, layers, _apply(name, layers), params, digest, channels, grids)
