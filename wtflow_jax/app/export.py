"""A fitted model as one file for programs that do not have this package: StableHLO or ONNX.

Either file holds one function with its weights: uint8 RGB images as decoded, of any
one size, to what ``wtflow predict`` makes of them, by ``scaling.window`` and ``route.program``. A
model that cuts images takes windows instead. A description goes with the function.
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
"""Of an ONNX file's metadata: the same description."""
INPUT = "rgb"
"""What the function takes, by name in both."""
# Without what it asks for: it pins an older Orbax, which it does not need for this.
CONVERTER = "pip install --no-deps jax2onnx==0.17.1"
CONVERTED_BEFORE = (0, 11)
"""JAX from this version on has other programs than the converter reads."""


def description(model: Model) -> dict[str, Any]:
    """Return what a program needs to know that runs the function; JSON."""
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
    """Return what the function takes."""
    (height, width), overlap, *_ = model.framing
    sides = "H, W" if overlap is None else f"{height}, {width}"
    return jax.ShapeDtypeStruct(jax.export.symbolic_shape(f"b, {sides}, 3"), jnp.uint8)


def _route(model: Model, backbone: Backbone, how: Sampling) -> tuple[Callable[..., Any], Any]:
    """Return the function, and its arrays, the first argument."""
    size = model.framing.size
    run, arrays = route.program(backbone, model.detector, size, how)

    def scaled(arrays: Any, images: Any) -> tuple[Array, ...]:
        windows, inside = scaling.window(images, size)
        return *run(arrays, windows), inside

    return scaled if model.framing.overlap is None else run, arrays


def stablehlo(model: Model, path: Path) -> None:
    """Write a zip of the function as ``jax.export`` serializes it, and the description."""
    run, arrays = _route(model, model.backbone, sampling(model.config))

    # By its name alone: who calls it writes the order of the colours.
    def program(*, rgb: Array) -> tuple[Array, ...]:
        # Behind a barrier weights are no constants, with which XLA would calculate for seconds.
        return run(jax.tree.map(jax.lax.optimization_barrier, arrays), rgb)

    exported = jax.export.export(jax.jit(program), platforms=PLATFORMS)(**{INPUT: _images(model)})
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(DESCRIPTION, json.dumps(description(model), indent=1))
        file.writestr(PROGRAM, exported.serialize())


def onnx(model: Model, path: Path) -> None:
    """Write an ONNX file, the description among its metadata; WTFlowError where it cannot be.

    What does not convert, or only to many slow operations, is the same in other words here: the
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
            f"jax {jax.__version__}: ONNX takes one before {before}; pip install 'jax<{before}', "
            "or export to .stablehlo"
        )
    # A name that type checkers need not find: its pin of Orbax keeps it out of the extras.
    to_onnx = importlib.import_module("jax2onnx").to_onnx
    for name in ("jax2onnx", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if portable := BACKBONES.make(backbone.name, dict(backbone.options)).portable:
        backbone = backbone._replace(apply=partial(portable, layers=backbone.layers))
    how = sampling(config)._replace(push_forward=euler, velocity_fn=velocity_fn)
    run, arrays = _route(model, backbone, how)
    images = _images(model)
    # Traced beforehand: jax2onnx replaces functions of JAX and Flax while it traces.
    traced = jax.make_jaxpr(partial(run, arrays))(images)
    function = jax.extend.core.jaxpr_as_fun(traced)
    outputs = ["scores", "maps", "inside"][: len(traced.out_avals)]
    proto = to_onnx(function, [images], input_names=[INPUT], output_names=outputs)
    proto.metadata_props.add(key=PROPERTY, value=json.dumps(description(model)))
    path.write_bytes(proto.SerializeToString())


def euler(
    velocity_fn: VelocityFn, params: Params, x0: Samples, *, steps: int, solver: Any, t_start: Time
) -> Samples:
    """Return what ``ode.push_forward`` does with the solver euler, in a loop of its own."""
    size = (1 - t_start) / steps

    def step(i: Any, x: Samples) -> Samples:
        return x + size * jax.vmap(partial(velocity_fn, params, t_start + i * size))(x)

    x = (1 - t_start) * x0
    return step(0, x) if steps == 1 else jax.lax.fori_loop(0, steps, step, x)


FORMATS = {".stablehlo": stablehlo, ".onnx": onnx}
"""By the ending of the file's name."""


def check_free(path: Path) -> None:
    """Raise WTFlowError where a file cannot be written, or its ending is none of ``FORMATS``."""
    if path.suffix not in FORMATS:
        raise WTFlowError(f"{path}: give a name that ends in {' or '.join(FORMATS)}")
    if path.exists():
        raise WTFlowError(f"{path}: already exists; give another --out")


def export(model: Model, path: Path) -> None:
    """Write a model as one file, whole or not at all.

    Args:
        model: a fitted or loaded one.
        path: does not exist; its ending is the format.

    Raises:
        WTFlowError: as ``check_free``; the model turns images; the format cannot hold it, or is
            not installed.
    """
    check_free(path)
    if model.framing.pose is not None:
        raise WTFlowError(
            "the model turns images by their principal axis, which no exported file does; fit it "
            "with --pose off"
        )
    try:
        with replacing(path) as part:
            FORMATS[path.suffix](model, part)
    except ImportError as error:
        missing = error.name or "flatbuffers"  # JAX does not name it.
        how = "pip install 'wtflow-jax[export]'" + f" && {CONVERTER}" * (path.suffix == ".onnx")
        raise WTFlowError(f"{path}: needs {missing}, which is not installed; {how}") from error
