"""Backbones: their definition, their table, and how one is loaded."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from wtflow_jax.backbones import weights as weight_files
from wtflow_jax.flow.types import Features, Params
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.kernels import laid_out
from wtflow_jax.support.parts import Parts

MEAN = (0.485, 0.456, 0.406)
"""ImageNet's mean, RGB in [0, 1]."""
STD = (0.229, 0.224, 0.225)
"""ImageNet's standard deviation, RGB in [0, 1]."""

Map = Float[Array, "n _ _ _"]
"""(n, h, w, c), of several sizes in one function."""
ApplyFn = Callable[[Params, Float[Array, "n h w 3"]], tuple[Features, ...]]


class Grid(NamedTuple):
    """Where a map's cells lie: cell i is centred on pixel ``stride * i + offset``, from 0."""

    stride: int
    offset: float


class Network(NamedTuple):
    """The definition of a backbone; an entry of ``BACKBONES``.

    An entry may also be a frozen dataclass of options with these attributes.

    Attributes:
        unit: the word for its layers: "layer" or "block".
        layers: the numbers of its layers.
        default: the layer that is taken by default.
        several: the layers that the presets ``auto`` and ``fine`` take if it is ``pooled``.
        rectified: whether its features end in a ReLU, and so have one sign.
        features: ``features(params, images, layers=...)`` returns for each layer a map
            (n, h / stride, w / stride, c); images as ``normalise`` returns them, layers ascending.
            Pure; nothing after the deepest layer is computed.
        from_state: ``from_state(state, path)`` returns the params of a weights file: a whole state
            dict (unused tensors are ignored), or one whose batch norms are folded. A WTFlowError
            names the first tensor that does not fit.
        channels: number of channels of a layer's map.
        grid: ``Grid`` of a layer's map, for image sizes divisible by ``multiple``.
        official: source of its weights; None if ``--weights`` must name a file.
        portable: ``features`` with ONNX's operations; None if ``features`` itself has only these.
        multiple: image sides must be multiples of this number of pixels, the deepest stride.
        sizes: default side of images, and that of the preset ``fine``.
        pooled: whether its maps are averaged over cells (``features.pool``).
    """

    unit: str
    layers: range
    default: int
    several: tuple[str, ...]
    rectified: bool
    features: Callable[..., tuple[Features, ...]]
    from_state: Callable[[weight_files.State, Path], Params]
    channels: Callable[[int], int]
    grid: Callable[[int], Grid]
    official: weight_files.Official | None = None
    portable: Callable[..., tuple[Features, ...]] | None = None
    multiple: int = 32
    sizes: tuple[int, int] = (512, 768)
    pooled: bool = True


BACKBONES: Parts[Network] = Parts("backbone", "wtflow_jax.backbones")


class Backbone(NamedTuple):
    """A pretrained network cut at some layers.

    Attributes:
        name: in ``BACKBONES``.
        layers: numbers of the layers, ascending.
        apply: ``apply(params, images) -> one map a layer``; pure, and the same object for the same
            name and layers, so that ``jax.jit`` traces it once. Images: see ``normalise``.
        params: its weights, float32.
        digest: SHA-256 of the weights file.
        channels: number of channels of each map.
        grids: ``Grid`` of each map, for image sizes divisible by ``Network.multiple``.
        options: options of its entry, by name.
        pooled: whether its maps are averaged over cells (``features.pool``).
    """

    name: str
    layers: tuple[int, ...]
    apply: ApplyFn
    params: Params
    digest: str
    channels: tuple[int, ...]
    grids: tuple[Grid, ...]
    options: tuple[tuple[str, Any], ...] = ()
    pooled: bool = True


def normalise(images: UInt8[Array, "n h w 3"]) -> Float[Array, "n h w 3"]:
    """Return uint8 RGB images as network input: float32 in [0, 1], minus ``MEAN``, over ``STD``."""
    scale, shift = 1 / (255 * np.array(STD)), np.array(MEAN) / np.array(STD)
    return images.astype(jnp.float32) * scale.astype(np.float32) - shift.astype(np.float32)


def convolve(conv: Params, x: Map, stride: int = 1, *, groups: int = 1, same: bool = False) -> Map:
    """Return a convolution, see ``weights.ConvReader``.

    Padding is half the kernel on each side (torch), or "SAME" (TensorFlow): at stride 2 and an even
    size, "SAME" pads less on the left than on the right.
    """
    pad = conv["weight"].shape[0] // 2
    y = jax.lax.conv_general_dilated(
        x,
        conv["weight"],
        (stride, stride),
        "SAME" if same else ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
        # Without it GPUs round to TF32, and features differ from device to device.
        precision=jax.lax.Precision.HIGHEST,
    )
    return y + conv["bias"]


def parse_layers(name: str, layer: Sequence[str | int] | str | int = ()) -> tuple[int, ...]:
    """Return the numbers of the given layers, ascending, each once.

    Layers are stages ("layer3", "3", 3) or blocks ("block7", "7", 7); a string may list several,
    separated by commas. Empty means the default. Raises WTFlowError for an unknown backbone or
    layer.
    """
    network = BACKBONES.find(name)
    unit, first, last = network.unit, network.layers[0], network.layers[-1]
    known = {text: n for n in network.layers for text in (str(n), f"{unit}{n}")}
    asked = [layer] if isinstance(layer, str | int) else layer
    parts = [part.strip() for item in asked for part in str(item).split(",")]
    for part in filter(None, parts):
        if part not in known:
            raise WTFlowError(
                f"layer {part!r}: {name} has {unit}{first} to {unit}{last}, "
                f"give several as {unit}{last - 1} {unit}{last}"
            )
    return tuple(sorted({known[part] for part in parts if part})) or (network.default,)


def load(
    name: str,
    *,
    layer: Sequence[str | int] | str | int = (),
    weights: str | None = None,
    cache: Path,
    options: Mapping[str, Any] | None = None,
) -> Backbone:
    """Load a pretrained backbone.

    ``layer`` is as in ``parse_layers``. ``weights`` is a path as in ``weights.resolve``; None takes
    the official weights. Of all ``options``, by name, the backbone takes its own.

    Raises:
        WTFlowError: an unknown name or layer, no weights, or weights of another network.
    """
    layers, network = parse_layers(name, layer), BACKBONES.make(name, options)
    path = weight_files.resolve(name, network.official, weights, cache)
    params = network.from_state(weight_files.load_state(path), path)
    return assemble(name, layers, params, weight_files.file_digest(path), options)


def assemble(
    name: str,
    layers: tuple[int, ...],
    params: Params,
    digest: str,
    options: Mapping[str, Any] | None = None,
) -> Backbone:
    """Return a backbone, given its parameters and the weights file's digest; else as ``load``."""
    network = BACKBONES.make(name, options)
    return Backbone(
        name=name,
        layers=layers,
        apply=_apply(network.features, layers),
        params=laid_out(jax.tree.map(jnp.asarray, params)),
        digest=digest,
        channels=tuple(network.channels(layer) for layer in layers),
        grids=tuple(network.grid(layer) for layer in layers),
        options=tuple((option, getattr(network, option)) for option in BACKBONES.options(name)),
        pooled=network.pooled,
    )


@lru_cache
def _apply(features: Callable[..., tuple[Features, ...]], layers: tuple[int, ...]) -> ApplyFn:
    return partial(features, layers=layers)
