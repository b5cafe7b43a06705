"""Features of a frozen backbone: computed once a split, pooled to the paper's grid, cached."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import PIL
import safetensors.numpy
from flax import linen as nn
from jaxtyping import Array, Float, UInt8

from wtflow_jax.backbones import ApplyFn, Backbone, Grid, normalise
from wtflow_jax.data import Sample, read_image
from wtflow_jax.data.images import is_large
from wtflow_jax.data.sample import File
from wtflow_jax.flow.types import Params, Stored
from wtflow_jax.support import untrusted
from wtflow_jax.support.atomic import replacing, sweep
from wtflow_jax.support.compilation import XLA_OPTIONS
from wtflow_jax.support.errors import WTFlowError, shown
from wtflow_jax.support.threads import ahead

VERSION = "2"
"""Raised whenever the same images would give other numbers, or files another form."""
BATCH = 8
SHARD = 1024
"""Images a file where features are streamed."""

Advance = Callable[[int], None]


def pool(x: Float[Array, "n h w c"], stride: int = 2) -> Float[Array, "n _ _ c"]:
    """Average 3×3 cells, one cell of zeros around (torch's padded average pool).

    At stride 2 it halves a map: the (1024, 16, 16) of the paper follow from the 32×32 of layer3 at
    512².
    """
    strides, one = (stride, stride), ((1, 1), (1, 1))
    return nn.avg_pool(x, (3, 3), strides, padding=one, count_include_pad=True)  # pyright: ignore


def grid(backbone: Backbone, dense: bool = False) -> Grid:
    """Return where the cells of the pooled map sit in the image: those of the coarsest layer.

    Args:
        backbone: a loaded one.
        dense: as given to ``extract``.

    Finer layers of EfficientNet-Lite0 are pooled to cells that lie up to 12 pixels beside it, as
    its padding is not symmetric; a ResNet's layers agree.
    """
    coarsest = max(backbone.grids, key=lambda g: g.stride)
    return Grid((1 if dense else 2) * coarsest.stride, coarsest.offset)


def pooled(
    apply: ApplyFn, params: Params, images: UInt8[Array, "n H W 3"], dense: bool = False
) -> Float[Array, "n h w c"]:
    """Return the pooled features of decoded images; pure.

    Args:
        apply: the backbone's.
        params: its weights.
        images: uint8 RGB.
        dense: as given to ``extract``.
    """
    maps = list(apply(params, normalise(images)))
    cells = min(x.shape[1] * x.shape[2] for x in maps)
    for i, x in enumerate(maps):
        while x.shape[1] * x.shape[2] > cells:
            x = pool(x)
        maps[i] = pool(x, 1 if dense else 2)
    return jnp.concatenate(maps, axis=-1)


_pooled = jax.jit(pooled, static_argnames=("apply", "dense"), compiler_options=XLA_OPTIONS)


class _Key(NamedTuple):
    """Everything that changes the numbers."""

    backbone: str
    layers: tuple[int, ...]
    weights: str
    dense: bool
    size: tuple[int, int]
    pillow: str
    files: str

    def text(self) -> str:
        return json.dumps(self._asdict(), sort_keys=True)


def _key(backbone: Backbone, samples: Sequence[Sample], size: tuple[int, int], dense: bool) -> _Key:
    files = hashlib.sha256()
    for sample in samples:
        try:
            files.update(hashlib.sha256(sample.path.read_bytes()).digest())
        except OSError as error:
            raise WTFlowError(f"{sample.path}: cannot be read ({error.strerror})") from error
    network = backbone.name, backbone.layers, backbone.digest
    return _Key(*network, dense, size, PIL.__version__, files.hexdigest())


def _name(key: _Key) -> str:
    return hashlib.sha256(key.text().encode()).hexdigest()[:32]


def _load(path: Path, key: _Key) -> Float[np.ndarray, "n h w c"] | None:
    """Return cached features; None where there are none that can be used, and tell why."""
    if not path.exists():
        return None
    try:
        arrays, metadata = untrusted.tensors(path)
        if (version := metadata.get("version")) != VERSION:
            raise ValueError(f"written by cache version {version}, this is {VERSION}")
        if metadata.get("key") != key.text():
            raise ValueError("holds the features of other images")
        features = arrays.get("features")
        if features is None or metadata.get("digest") != _digest(features):
            raise ValueError("its features are not what was written")
    except ValueError as error:
        print(shown(f"{path}: is damaged ({error}); computed anew"), file=sys.stderr)
        return None
    return features


def _digest(features: Float[np.ndarray, "n h w c"]) -> str:
    digest = hashlib.sha256(f"{features.dtype} {features.shape}".encode())
    digest.update(np.ascontiguousarray(features).data)
    return digest.hexdigest()


def _save(path: Path, features: Float[np.ndarray, "n h w c"], key: _Key) -> None:
    # save_file would write what its owner alone can read: caches are shared.
    text = {"version": VERSION, "key": key.text(), "digest": _digest(features)}
    sweep(path.parent)
    with replacing(path) as part:
        part.write_bytes(safetensors.numpy.save({"features": features}, text))


def extract(
    backbone: Backbone,
    samples: Sequence[Sample],
    size: tuple[int, int],
    cache: Path,
    advance: Advance = lambda images: None,
    *,
    dense: bool = False,
) -> Float[np.ndarray, "n h w c"]:
    """Return the pooled features of images, from the cache where they are there.

    The cache's key is made of the images' contents, the backbone, its weights and layers, the size,
    Pillow's version and the code's. A file appears complete or not at all, and carries a checksum:
    one that is damaged is told of and computed anew.

    Args:
        backbone: a loaded one.
        samples: n images.
        size: (H, W) they are resized to.
        cache: directory that holds ``features/``.
        advance: called with the number of images done since the last call.
        dense: whether the last pool moves by one cell instead of two, for four times the cells.

    Returns:
        float32 (n, h, w, c) with h = H / 32 for a backbone layer of stride 16, H / 16 where dense;
        several layers are pooled to the coarsest one's cells and concatenated.

    Raises:
        WTFlowError: an image cannot be read, or gives a feature that is not finite.
    """
    key = _key(backbone, samples, size, dense)
    path = cache / "features" / f"{VERSION}-{_name(key)}.safetensors"
    if (features := _load(path, key)) is not None:
        advance(len(samples))
        return features
    features = np.concatenate(list(_computed(backbone, samples, size, dense, advance)))
    _save(path, features, key)
    return features


def extract_shards(
    backbone: Backbone,
    samples: Sequence[Sample],
    size: tuple[int, int],
    cache: Path,
    advance: Advance = lambda images: None,
    *,
    dense: bool = False,
) -> Stored:
    """Return the pooled features of more images than fit into memory, kept as shards on disk.

    As ``extract``; what was interrupted goes on with the shard it was at. The extra ``large`` is
    needed.

    Args:
        backbone: a loaded one.
        samples: n images.
        size: (H, W) they are resized to.
        cache: directory that holds ``features/``.
        advance: called with the number of images done since the last call.
        dense: as in ``extract``.

    Raises:
        WTFlowError: as ``extract``; the extra is not installed.
    """
    try:
        from wtflow_jax.training import stream
    except ImportError as error:
        raise WTFlowError(
            f"{len(samples)} images: their features do not fit into memory, and to stream them "
            f"{error.name} is not installed; pip install 'wtflow-jax[large]'"
        ) from error
    key = _key(backbone, samples, size, dense)
    directory = cache / "features" / f"{VERSION}-{SHARD}-{_name(key)}"
    if (directory / stream.INDEX).is_file():
        advance(len(samples))

    def shards() -> Iterator[tuple[str, Iterable[Float[np.ndarray, "k h w c"]]]]:
        for first in range(0, len(samples), SHARD):
            part = samples[first : first + SHARD]
            name = f"{first // SHARD:05d}.array_record"
            if (directory / name).is_file():
                advance(len(part))
            yield name, _computed(backbone, part, size, dense, advance)

    return stream.write(directory, shape(backbone, size, dense), shards())


def batched(
    backbone: Backbone,
    images: Iterable[tuple[File, UInt8[np.ndarray, "H W 3"]]],
    dense: bool = False,
) -> Iterator[Float[np.ndarray, "b h w c"]]:
    """Yield the pooled features of decoded images of one size, a few at a time.

    Args:
        backbone: a loaded one.
        images: where each is from, for messages, and uint8 RGB.
        dense: as in ``extract``.

    Raises:
        WTFlowError: an image gives a feature that is not finite.
    """
    waiting = iter(images)
    while batch := list(islice(waiting, BATCH)):
        pixels = [image for _, image in batch]
        # One shape, one trace: the last batch is filled up.
        filled = np.stack(pixels + pixels[:1] * (BATCH - len(batch)))
        part = np.asarray(_pooled(backbone.apply, backbone.params, filled, dense))[: len(batch)]
        finite = np.isfinite(part).all(axis=(1, 2, 3))
        if not finite.all():
            raise WTFlowError(
                f"{batch[int(np.argmin(finite))][0]}: {backbone.name} gives NaN or infinite "
                "features; check its --weights"
            )
        yield part


def shape(backbone: Backbone, size: tuple[int, int], dense: bool = False) -> tuple[int, int, int]:
    """Return (h, w, c) of an image's pooled features.

    Args:
        backbone: a loaded one.
        size: (H, W) it is resized to.
        dense: as in ``extract``.
    """
    stride = grid(backbone, dense).stride
    return size[0] // stride, size[1] // stride, sum(backbone.channels)


def _computed(
    backbone: Backbone,
    samples: Sequence[Sample],
    size: tuple[int, int],
    dense: bool,
    advance: Advance,
) -> Iterator[Float[np.ndarray, "b h w c"]]:
    def read(sample: Sample) -> tuple[File, UInt8[np.ndarray, "H W 3"]]:
        return sample.path, read_image(sample.path, size)

    images = ahead(read, samples, alone=lambda sample: is_large(sample.path))
    for part in batched(backbone, images, dense):
        yield part
        advance(len(part))
