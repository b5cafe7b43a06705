"""Features of a frozen backbone: computed once per split, pooled to the paper's grid, cached.

Maps of convolutions are pooled. Patch tokens of a transformer are not.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import PIL
from flax import linen as nn
from jaxtyping import Array, Float, UInt8

from wtflow_jax.backbones.network import ApplyFn, Backbone, Grid, normalise
from wtflow_jax.data import Sample, pose, read_image
from wtflow_jax.data.images import is_large
from wtflow_jax.data.light import factors, lit
from wtflow_jax.data.sample import File
from wtflow_jax.flow.types import Params, Stored
from wtflow_jax.support import tensors
from wtflow_jax.support.batches import in_batches
from wtflow_jax.support.compilation import XLA_OPTIONS
from wtflow_jax.support.console import Advance
from wtflow_jax.support.errors import WTFlowError, shown
from wtflow_jax.support.files import alone
from wtflow_jax.support.threads import ahead

VERSION = 4
"""Raised whenever the same images give other features, or the files change their format."""
BATCH = 8
SHARD = 1024
"""Images per file of streamed features."""

Size = tuple[int, int]
"""Height and width of images, in pixels."""
Maps = Float[np.ndarray, "n h w c"]


def pool(
    x: Float[Array, "n h w c"], stride: int = 2, late: bool = False
) -> Float[Array, "n _ _ c"]:
    """Average 3×3 cells, padded by one cell of zeros (torch's padded average pool).

    Stride 2 halves a map: at 512² layer3 has 32×32 cells, which become the paper's (1024, 16, 16).
    They are centred on every other cell from the first on, or from the second on if ``late``.
    """
    strides, pad = (stride, stride), (0 if late else 1, 1)
    return nn.avg_pool(x, (3, 3), strides, padding=(pad, pad), count_include_pad=True)  # pyright: ignore


class Pooling(NamedTuple):
    """How the layers' maps are brought to one grid; hashable."""

    step: int  #: stride of the last pool in cells; 0: no pool
    late: tuple[tuple[bool, ...], ...]  #: of each layer and halving, for ``pool``


def pooling(backbone: Backbone, dense: bool = False) -> Pooling:
    """Return how a backbone's maps are pooled; for ``dense``, here and below, see ``compute``.

    All layers are halved to the cells of the coarsest one. TensorFlow's padding puts the cells of
    EfficientNet-Lite on the odd cells of a finer layer, torch's those of a ResNet on the even ones.
    """
    coarsest = _coarsest(backbone)

    def late(finer: Grid) -> tuple[bool, ...]:
        halvings = range((coarsest.stride // finer.stride).bit_length() - 1)
        shift = round((coarsest.offset - finer.offset) / finer.stride)
        return tuple(bool(shift >> i & 1) for i in halvings)

    step = (1 if dense else 2) if backbone.pooled else 0
    return Pooling(step, tuple(map(late, backbone.grids)))


def _coarsest(backbone: Backbone) -> Grid:
    return max(backbone.grids, key=lambda g: g.stride)


def grid(backbone: Backbone, dense: bool = False) -> Grid:
    """Return the positions of the features' cells in the image: those of the coarsest layer."""
    coarsest, step = _coarsest(backbone), pooling(backbone, dense).step
    return Grid(max(1, step) * coarsest.stride, coarsest.offset)


def shape(backbone: Backbone, size: Size, dense: bool = False) -> tuple[int, int, int]:
    """Return (h, w, c) of an image's features."""
    stride = grid(backbone, dense).stride
    return size[0] // stride, size[1] // stride, sum(backbone.channels)


def taken(
    apply: ApplyFn, params: Params, images: UInt8[Array, "n H W 3"], how: Pooling
) -> Float[Array, "n h w c"]:
    """Return the features of decoded images, uint8 RGB; pure. ``how`` is from ``pooling``."""
    maps = list(apply(params, normalise(images)))
    for i, halvings in enumerate(how.late):
        for late in halvings:
            maps[i] = pool(maps[i], 2, late)
        maps[i] = pool(maps[i], how.step) if how.step else maps[i]
    return jnp.concatenate(maps, axis=-1)


run = jax.jit(taken, static_argnames=("apply", "how"), compiler_options=XLA_OPTIONS)
"""``taken``, compiled: the only program that computes features."""


def compute(
    backbone: Backbone,
    images: UInt8[np.ndarray, "n H W 3"],
    dense: bool = False,
    batch: int = BATCH,
) -> Maps:
    """Return the features of decoded images, uint8 RGB, n at least 1.

    All code that needs features calls it, because the last digits depend on the program and on
    ``batch``, the images per call. With ``dense`` the last pool has stride 1 instead of 2, which
    gives four times the cells; features without pooling do not change.

    Returns:
        float32 (n, h, w, c) with h = H / 32 for a backbone layer of stride 16, H / 16 if dense or
        not pooled. Several layers are pooled to the coarsest layer's cells and concatenated.
    """
    apply, params, how = backbone.apply, backbone.params, pooling(backbone, dense)
    return in_batches(lambda part: (run(apply, params, part, how),), batch, images)[0]


def batched(
    backbone: Backbone,
    images: Iterable[tuple[File, UInt8[np.ndarray, "H W 3"]]],
    dense: bool = False,
) -> Iterator[Maps]:
    """Yield the features of decoded images of one size, ``BATCH`` at a time.

    ``images`` are pairs of a file and its uint8 RGB array. A WTFlowError names the first image
    with NaN or infinite features.
    """
    waiting = iter(images)
    while batch := list(islice(waiting, BATCH)):
        part = compute(backbone, np.stack([image for _, image in batch]), dense)
        finite = np.isfinite(part).all(axis=(1, 2, 3))
        if not finite.all():
            raise WTFlowError(
                f"{batch[int(np.argmin(finite))][0]}: {backbone.name} gives NaN or infinite "
                "features; check its --weights"
            )
        yield part


def extract(
    backbone: Backbone,
    samples: Sequence[Sample],
    size: Size,
    cache: Path,
    advance: Advance = lambda *_: None,
    *,
    dense: bool = False,
    turned: float | None = None,
    jitter: float = 0.0,
) -> Maps:
    """Return the features of images, from the cache if it has them.

    The cache key covers the images' contents, the backbone, its weights and layers, the size, and
    the versions of Pillow and of this code. Files are written atomically and carry a checksum. A
    damaged file, or one of an earlier version, is reported and its features are computed again.
    ``cache`` holds ``features/`` and ``shards/``; ``advance`` is called with the number of finished
    images. If ``turned`` is a number, images are turned by their principal axis with that shift
    (``data.pose``); ``jitter`` changes their brightness (``data.light``). Both are in the key.

    Raises:
        WTFlowError: an image cannot be read, or has NaN or infinite features.
    """
    key = _key(backbone, samples, size, dense, turned, jitter)
    path = cache / "features" / f"{_name(key)}.safetensors"
    if path.exists():
        try:
            arrays, about = tensors.load(path)
            if about != key:
                raise ValueError("holds the features of other images")
        except ValueError as error:
            print(shown(f"{path}: cannot be used ({error}); computed again"), file=sys.stderr)
        else:
            advance(len(samples))
            return arrays["features"]
    parts = []
    for part in batched(backbone, _shown(samples, size, turned, jitter), dense):
        parts.append(part)
        advance(len(part))
    features = np.concatenate(parts)
    # ``alone`` deletes the half-written files of killed processes.
    with alone(path.parent, wait=True):
        tensors.save(path, {"features": features}, key)
    return features


def extract_shards(
    backbone: Backbone,
    samples: Sequence[Sample],
    size: Size,
    cache: Path,
    advance: Advance = lambda *_: None,
    *,
    dense: bool = False,
    turned: float | None = None,
    jitter: float = 0.0,
) -> Stored:
    """Return the features of more images than fit into memory, kept as shards on disk.

    As ``extract``; an interrupted call resumes at its unfinished shard. Raises WTFlowError also if
    the extra ``large`` is not installed.
    """
    try:
        from wtflow_jax.support import shards
    except ImportError as error:
        raise WTFlowError(
            f"{len(samples)} images: their features do not fit into memory, and {error.name} to "
            "stream them is not installed; pip install 'wtflow-jax[large]'"
        ) from error
    key = _key(backbone, samples, size, dense, turned, jitter)
    directory = cache / "shards" / f"{SHARD}-{_name(key)}"
    firsts = range(0, len(samples), SHARD)
    parts = (_shown(samples, size, turned, jitter, first, first + SHARD) for first in firsts)
    maps = (batched(backbone, part, dense) for part in parts)
    return shards.write(directory, shape(backbone, size, dense), maps, advance)


def _shown(
    samples: Sequence[Sample],
    size: Size,
    turned: float | None,
    jitter: float,
    first: int = 0,
    last: int | None = None,
) -> Iterator[tuple[File, UInt8[np.ndarray, "H W 3"]]]:
    """Yield the files and the decoded images from ``first`` to before ``last``."""

    def read(pair: tuple[File, float]) -> tuple[File, UInt8[np.ndarray, "H W 3"]]:
        path, factor = pair
        if turned is not None:
            return path, lit(pose.read_image(path, size, turned)[0], factor)
        return path, lit(read_image(path, size), factor)

    paths = [sample.path for sample in samples]
    pairs = list(zip(paths, factors(len(paths), jitter).tolist(), strict=True))[first:last]
    return ahead(read, pairs, alone=lambda pair: is_large(pair[0]))


def _key(
    backbone: Backbone,
    samples: Sequence[Sample],
    size: Size,
    dense: bool,
    turned: float | None,
    jitter: float,
) -> dict[str, Any]:
    """Return everything that changes the features, as JSON values."""
    files = hashlib.sha256()
    for sample in samples:
        try:
            files.update(hashlib.sha256(sample.path.read_bytes()).digest())
        except OSError as error:
            raise WTFlowError(f"{sample.path}: cannot be read ({error.strerror})") from error
    own = {} if turned is None else {"turned": turned, "pose": pose.VERSION}
    if jitter:
        own |= {"light": hashlib.sha256(factors(len(samples), jitter).tobytes()).hexdigest()}
    return {
        "version": VERSION,
        **own,
        "backbone": backbone.name,
        "layers": list(backbone.layers),
        "options": dict(backbone.options),
        "weights": backbone.digest,
        "dense": dense,
        "size": list(size),
        "pillow": PIL.__version__,
        "files": files.hexdigest(),
    }


def _name(key: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
