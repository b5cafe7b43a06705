"""A fitted model as one file for programs without this package: StableHLO or ONNX.

The file holds one function with its weights, ``scaling.window`` and then ``route.program``, and a
description. The function takes decoded uint8 RGB images of any one size and returns the scores and
maps of ``wtflow predict``. For a model that cuts images it takes windows instead.
"""

import importlib
import json
import logging
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.extend
import jax.numpy as jnp
from jaxtyping import Array

from wtflow_jax.backbones import BACKBONES, Backbone
from wtflow_jax.data import scaling
from wtflow_jax.detector import route
from wtflow_jax.detector.algorithm import Sampling
from wtflow_jax.detector.detector import sampling
from wtflow_jax.detector.model import Model
from wtflow_jax.flow import ode
from wtflow_jax.flow.types import Params, Samples, Time, VelocityFn
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.files import replacing

PLATFORMS = ("cpu", "cuda")
PROGRAM, DESCRIPTION = "program", "metadata.json"
"""Names in a StableHLO file, which is a zip."""
PROPERTY = "wtflow"
"""Key of the same description in an ONNX file's metadata."""
INPUT = "rgb"
"""Name of the function's input in both formats."""
# Without its dependencies: it pins an older Orbax, which is not needed here.
CONVERTER = "pip install --no-deps jax2onnx==0.17.1"
CONVERTED_BEFORE = (0, 11)
"""The converter cannot read programs of JAX from this version on."""


def description(model: Model) -> dict[str, Any]:
    """Return the description that callers of the function need; JSON."""
    (height, width), overlap, *_ = model.framing
    images, maps = "(b, H, W, 3): images as decoded, of any one size", f"(b, {height}, {width})"
    if overlap is not None:
        images = f"(b, {height}, {width}, 3): windows, cut by the caller so that they overlap"
    outputs = f"scores (b,), maps {maps}: float32, higher is more anomalous"
    inside = "; inside (2,): rows and columns of maps that the image takes, int32"
    return {
        "input": f"{INPUT}: uint8, red before green and blue, {images}",
        "outputs": outputs + inside * (overlap is None),
        "size": [height, width],
        "overlap": overlap,
        "threshold": model.threshold.value,
        "colours": model.colours,
        "versions": dict(model.versions),
    }


def _images(model: Model) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of the function's input."""
    (height, width), overlap, *_ = model.framing
    sides = "H, W" if overlap is None else f"{height}, {width}"
    return jax.ShapeDtypeStruct(jax.export.symbolic_shape(f"b, {sides}, 3"), jnp.uint8)


def _route(model: Model, backbone: Backbone, how: Sampling) -> tuple[Callable[..., Any], Any]:
    """Return the function and its first argument, the arrays."""
    size = model.framing.size
    run, arrays = route.program(backbone, model.detector, size, how)

    def scaled(arrays: Any, images: Any) -> tuple[Array, ...]:
        windows, inside = scaling.window(images, size)
        return *run(arrays, windows), inside

    return scaled if model.framing.overlap is None else run, arrays


def stablehlo(model: Model, path: Path) -> None:
    """Write a zip of the function, serialized by ``jax.export``, and the description."""
    run, arrays = _route(model, model.backbone, sampling(model.config))

    # Keyword-only: the name tells the caller the order of the colours.
    def program(*, rgb: Array) -> tuple[Array, ...]:
        # The barrier keeps XLA from folding the weights as constants, which takes seconds.
        return run(jax.tree.map(jax.lax.optimization_barrier, arrays), rgb)

    exported = jax.export.export(jax.jit(program), platforms=PLATFORMS)(**{INPUT: _images(model)})
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(DESCRIPTION, json.dumps(description(model), indent=1))
        file.writestr(PROGRAM, exported.serialize())


def onnx(model: Model, path: Path) -> None:
    """Write an ONNX file, the description in its metadata; WTFlowError if it cannot convert.

    Equivalent code replaces what does not convert, or converts to many slow operations: the
    solver's loop, the exact field's blocks, and depthwise convolutions.
    """
    config, backbone = model.config, model.backbone
    velocity_fn = config.velocity.portable()
    asked = f"--solver {config.inference.solver}"
    if config.solver == ode.EULER:
        asked = f"--velocity {config.flow.velocity}, as it was fitted"
    if config.solver != ode.EULER or velocity_fn is None:
        raise WTFlowError(f"{asked}: cannot be converted to ONNX; export to .stablehlo")
    if jax.__version_info__ >= CONVERTED_BEFORE:
        before = ".".join(map(str, CONVERTED_BEFORE))
        raise WTFlowError(
            f"jax {jax.__version__}: ONNX export needs jax before {before}; pip install "
            f"'jax<{before}', or export to .stablehlo"
        )
    # Imported by name for type checkers: its pin of Orbax keeps it out of the extras.
    to_onnx = importlib.import_module("jax2onnx").to_onnx
    for name in ("jax2onnx", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if portable := BACKBONES.make(backbone.name, dict(backbone.options)).portable:
        backbone = backbone._replace(apply=partial(portable, layers=backbone.layers))
    how = sampling(config)._replace(push_forward=euler, velocity_fn=velocity_fn)
    run, arrays = _route(model, backbone, how)
    images = _images(model)
    # Traced first: jax2onnx replaces functions of JAX and Flax while it traces.
    traced = jax.make_jaxpr(partial(run, arrays))(images)
    function = jax.extend.core.jaxpr_as_fun(traced)
    outputs = ["scores", "maps", "inside"][: len(traced.out_avals)]
    proto = to_onnx(function, [images], input_names=[INPUT], output_names=outputs)
    proto.metadata_props.add(key=PROPERTY, value=json.dumps(description(model)))
    path.write_bytes(proto.SerializeToString())


def euler(
    velocity_fn: VelocityFn, params: Params, x0: Samples, *, steps: int, solver: Any, t_start: Time
) -> Samples:
    """Return the same as ``ode.push_forward`` with the solver euler, by a plain loop."""
    size = (1 - t_start) / steps

    def step(i: Any, x: Samples) -> Samples:
        return x + size * jax.vmap(partial(velocity_fn, params, t_start + i * size))(x)

    x = (1 - t_start) * x0
    return step(0, x) if steps == 1 else jax.lax.fori_loop(0, steps, step, x)


FORMATS = {".stablehlo": stablehlo, ".onnx": onnx}
"""Writers by the ending of the file's name."""


def check_free(path: Path) -> None:
    """Raise WTFlowError if a file exists already, or its ending is not in ``FORMATS``."""
    if path.suffix not in FORMATS:
        raise WTFlowError(f"{path}: give a name that ends in {' or '.join(FORMATS)}")
    if path.exists():
        raise WTFlowError(f"{path}: already exists; give another --out")


def export(model: Model, path: Path) -> None:
    """Write a model as one file, atomically.

    Args:
        model: a fitted or loaded model.
        path: the new file; its ending chooses the format.

    Raises:
        WTFlowError: as ``check_free``; the model turns images; the format cannot hold it, or its
            packages are not installed.
    """
    check_free(path)
    if model.framing.pose is not None:
        raise WTFlowError(
            "the model turns images by their principal axis, which exported files cannot do; fit "
            "it with --pose off"
        )
    try:
        with replacing(path) as part:
            FORMATS[path.suffix](model, part)
    except ImportError as error:
        missing = error.name or "flatbuffers"  # JAX does not name it.
        how = "pip install 'wtflow-jax[export]'" + f" && {CONVERTER}" * (path.suffix == ".onnx")
        raise WTFlowError(f"{path}: needs {missing}, which is not installed; {how}") from error
