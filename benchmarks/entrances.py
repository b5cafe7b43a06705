"""Where files come in: what ``fuzz.py`` tries."""

import contextlib
import io
import json
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import rubbish  # pyright: ignore[reportMissingImports]
import trees  # pyright: ignore[reportMissingImports]

from wtflow_jax import data as datasets
from wtflow_jax.app.report import page
from wtflow_jax.backbones import torch_pickle, weights
from wtflow_jax.data.images import read_labels
from wtflow_jax.data.loco import read_saturations
from wtflow_jax.data.tfds import StoredFile
from wtflow_jax.detector import model
from wtflow_jax.support import checksum, shards, untrusted
from wtflow_jax.support.errors import WTFlowError


class Entrance(NamedTuple):
    """Where files come in.

    Attributes:
        seeds: contents to start from.
        call: reads a file of such contents.
    """

    seeds: list[bytes]
    call: Callable[[bytes], object]


def image(place: Path) -> Entrance:
    """``open_image`` and masks, by their bytes alone."""
    parts = [rubbish.odd, rubbish.frames, rubbish.undecodable]
    paths = [path for i, part in enumerate(parts) for path in part(place / str(i)).values()]
    seeds = [path.read_bytes() for path in paths if path.stat().st_size < 20_000]

    def call(content: bytes) -> None:
        file = StoredFile("image", lambda: content)
        with contextlib.suppress(WTFlowError):
            datasets.open_image(file)
        read_labels(file)

    return Entrance(seeds, call)


def csv(place: Path) -> Entrance:
    """VisA's table."""
    table = trees.visa(place)

    def call(content: bytes) -> None:
        table.write_bytes(content)
        for name in ("candle", "pcb1"):
            datasets.open_category(place, name, "visa")

    return Entrance([table.read_bytes(), *rubbish.TABLES[:-1]], call)


def _model(place: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A model of random numbers, described as ``wtflow fit`` does."""
    from wtflow_jax import backbones
    from wtflow_jax.app import fitting

    for i in range(3):
        trees.write(place / "good" / f"{i}.png", trees.picture(i))
    good = sorted((place / "good").iterdir())
    config, framing = fitting.settings(good, image_size="64")
    backbone = backbones.load(config.backbone, cache=place)
    model.save(fitting.fit(good, backbone, framing, config), place / "model")
    arrays, _ = untrusted.tensors(place / "model" / model.TENSORS)
    return json.loads((place / "model" / model.DESCRIPTION).read_text()), arrays


def json_(place: Path) -> Entrance:
    """model.json, defects_config.json, shards.json, and what report is given."""
    description, arrays = _model(place)
    # What is said of the tensors is tried here; the tensors themselves are another entrance's.
    small = {name: array for name, array in arrays.items() if name.startswith("stats")}
    small |= {"backbone/a": np.ones(1), "params/a": np.ones(1)}
    untrusted.tensors = lambda path: (small, {})
    # Whoever means harm can compute checksums too.
    checksum.is_whole = lambda description: True
    model.file_digest = lambda path: description["tensors"]
    page._packages = _without_charts
    run, found = place / "run", place / "found"
    run.mkdir()
    found.mkdir()
    history = [{"epoch": 1, "loss": 0.5, "image_auroc": 90.0}]
    row = {"category": "a", "variant": "", "seed": 0, "undefined": ["b"], "history": history}
    table = {"title": "T", "columns": ["a", "b"], "rows": [["x", "1"]], "notes": ["n"]}
    results = {"experiment": "mvtec", "config": {"a": 1}, "rows": [row], "tables": [table]}
    lines = {"path": "a.png", "score": 0.5, "threshold": 0.4, "decision": "good", "map": "a.png"}
    places: dict[bytes, tuple[Path, Callable[[], object]]] = {
        b"m": (place / "model" / model.DESCRIPTION, lambda: model.load(place / "model")),
        b"d": (place / "d.json", lambda: read_saturations(place / "d.json")),
        b"s": (place / shards.INDEX, lambda: shards.Shards(place)),
        b"r": (run / page.RESULTS, lambda: page.write(run, run / "a.html", 3, _told)),
        b"p": (found / page.PREDICTIONS, lambda: page.write(found, found / "a.html", 3, _told)),
    }
    index = {"shape": [1, 2, 2, 3], "digest": "a"}
    whole = {b"m": description, b"d": trees.LOCO_CONFIG, b"s": index, b"r": results}
    whole |= {b"p": lines | {"error": None}}
    # The first byte says which file the others are.
    seeds = [
        kind + json.dumps(other).encode()
        for kind, value in whole.items()
        for other in (value, *rubbish.altered(value))
    ]
    seeds += [kind + text for kind in places for text in rubbish.texts() if len(text) < 500]

    def call(content: bytes) -> None:
        path, read = places.get(content[:1], places[b"m"])
        path.write_bytes(content[1:])
        read()

    return Entrance(seeds, call)


def _told(done: int, total: int) -> None:
    pass


def _without_charts() -> tuple[Any, Any]:
    import jinja2

    return jinja2, types.SimpleNamespace(javascript_bundle=lambda _: "")


def tensors(place: Path) -> Entrance:
    """Weights and models in safetensors."""
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b/0": np.ones(2, np.float64)}
    file = place / model.TENSORS

    def call(content: bytes) -> None:
        file.write_bytes(content)
        weights.load_state(file)
        model._tensors(file)

    whole = safetensors.numpy.save(arrays, {"version": "1"})
    return Entrance([whole, *rubbish.tensors().values()], call)


def pickle(place: Path) -> Entrance:
    """State dicts of torch, both formats, built by its test without torch."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "backbones"))
    from test_torch_pickle import (  # pyright: ignore[reportMissingImports]
        state,
        tensor,
    )

    program, seeds = state(tensor()), []
    payload = np.arange(6, dtype="<f4").tobytes()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/data/0", payload)
    seeds.append(file.getvalue())
    magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."
    keys = b"\x80\x02](X\x01\x00\x00\x000e."
    seeds.append(magic + program + keys + (6).to_bytes(8, "little") + payload)

    def call(content: bytes) -> None:
        file: Any = StoredFile("weights.pth", lambda: content)
        for array in torch_pickle.read(file).values():
            array.sum()

    return Entrance(seeds, call)


ENTRANCES: dict[str, Callable[[Path], Entrance]] = {
    "image": image,
    "csv": csv,
    "json": json_,
    "safetensors": tensors,
    "pickle": pickle,
}
