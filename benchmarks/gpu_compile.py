"""Compiles programs for GPUs that need not be present, and reports kernels, bytes and copies.

    python -m venv gpu && gpu/bin/pip install -e ".[cuda12]"
    gpu/bin/python benchmarks/gpu_compile.py --json compiled.json
    gpu/bin/python benchmarks/gpu_compile.py --parts "train 768" --cards h100

XLA compiles each whole program for the card's description. The compiled text shows its memory, its
kernels, the bytes they read and write, and which arrays it copies or transposes. No driver is
needed. Convolutions and products use cuDNN's and cuBLAS's default algorithms, because autotuning
needs a card. The least time is the longer of two: operations at the card's peak rate, and bytes at
its bandwidth.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1"}

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax.experimental import topologies
from jax.experimental.layout import Format
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rich.console import Console
from rich.table import Table

import hlo
from wtflow_jax import backbones
from wtflow_jax.app.plan import DEVICES, NODE, USABLE
from wtflow_jax.backbones import features
from wtflow_jax.detector import algorithm, detector, route
from wtflow_jax.detector.config import configure
from wtflow_jax.flow import ode
from wtflow_jax.flow.maps.spectrum import Rank
from wtflow_jax.flow.maps.whitening import _fit
from wtflow_jax.support.environment import CACHE
from wtflow_jax.support.kernels import order
from wtflow_jax.training import sharding
from wtflow_jax.training import state as training
from wtflow_jax.velocities.unet import UNet

CARDS = {
    # Cores, compute capability, clock in GHz, level-2 cache in bytes, threads per core, shared
    # memory in bytes per core and per block: from NVIDIA's data sheets and CUDA programming guide.
    "h100": (132, (9, 0), 1.98, 50 << 20, 2048, 228 << 10, 227 << 10),
    "a100": (108, (8, 0), 1.41, 40 << 20, 2048, 164 << 10, 163 << 10),
    "rtx3090": (82, (8, 6), 1.70, 6 << 20, 1536, 100 << 10, 99 << 10),
}
DESCRIPTION = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: {shared} threads_per_core_limit: {threads} core_count: {cores}
  fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
  block_dim_limit_z: 65535 memory_bandwidth: {bandwidth:.0f} l2_cache_size: {cache}
  clock_rate_ghz: {clock} device_memory_size: {memory:.0f} shared_memory_per_block_optin: {optin}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
runtime_version {{ major: 12 minor: 8 patch: 0 }}
device_description_str: "{name}"
"""
MAP = 16, 16, 1024
BATCH = 8


@dataclass(frozen=True)
class Settings:
    """What to compile."""

    cards: tuple[str, ...] = ("h100", "a100", "rtx3090")
    """Cards to compile for."""
    parts: tuple[str, ...] = ()
    """Compile only parts whose names begin like this; left out: all."""
    weights: str | None = None
    """File of our ResNet-18; left out: the built-in backbone."""
    json: Path | None = None
    """File for the figures, written after each program."""
    texts: Path | None = None
    """Directory for the texts of the programs."""


class Part(NamedTuple):
    """A program, and the function whose operations are counted."""

    jitted: Any
    arguments: tuple[Any, ...]
    pure: Callable[..., Any]  #: the function to count: the program, or its loop's body
    plain: tuple[Any, ...]  #: its arguments, without a device
    times: float = 1  #: how often the program runs ``pure``, or a device's share of it


def card(name: str, devices: str = "1x1x1") -> NamedSharding:
    """Return the sharding of arrays on described cards."""
    cores, (major, minor), clock, cache, threads, shared, optin = CARDS[name]
    sheet = DEVICES[name]
    given = {"cores": cores, "major": major, "minor": minor, "clock": clock, "cache": cache}
    given |= {"threads": threads, "shared": shared, "optin": optin, "name": name}
    text = DESCRIPTION.format(**given, bandwidth=sheet.bandwidth, memory=sheet.memory)
    asked = {"platform": "cuda", "topology_name": name, "topology": devices, "target_config": text}
    found = topologies.get_topology_desc(**asked)
    return NamedSharding(Mesh(np.array(found.devices), ("d",)), PartitionSpec())


def on(there: NamedSharding, tree: Any, kernels: str = "") -> Any:
    """Return shapes of arrays on a card.

    With ``kernels``, a precision, arrays of four axes get the layout of ``laid_out``.
    """
    first = np.array(there.mesh.devices).flat[0]

    def of(leaf: Any) -> jax.ShapeDtypeStruct:
        place = there
        if kernels and leaf.ndim == 4:
            place = Format(order(kernels, float(first.compute_capability)), there)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)

    return jax.tree.map(of, tree)


def shaped(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


KEY = jax.eval_shape(lambda: jax.random.key(0))


def jitted(there: NamedSharding, function: Callable[..., Any], *plain: Any) -> Part:
    """Return the part of a pure function."""
    return Part(jax.jit(function), tuple(on(there, part) for part in plain), function, plain)


def train(there: NamedSharding, width: str, precision: str, how: str) -> Part:
    """A training step by itself, or in the compiled loop."""
    network = UNet(int(width), precision=precision)  # pyright: ignore[reportArgumentType]
    objective = training.Objective(network.velocity_fn(), rate=2e-4, precision=precision)
    params = jax.eval_shape(partial(network.init, x0=shaped(BATCH, *MAP)), KEY)
    state = jax.eval_shape(partial(training.init_state, objective), params)
    plain = state, shaped(BATCH, *MAP), shaped(BATCH, dtype=jnp.int32), KEY
    lying = on(there, state, kernels=precision)
    if how == "step":
        function, rest = training._step, plain[1:]
    else:
        whole = shaped(64, *MAP), shaped(training.LENGTH, BATCH, dtype=jnp.int32)
        function, rest = training._loop, (*whole, *[shaped(dtype=jnp.int32)] * 2, KEY)
    given = objective, lying, *(on(there, part) for part in rest)
    return Part(program(function, lying), given, partial(training._step, objective), plain)


def program(function: Callable[..., Any], state: Any) -> Any:
    """Return the program of ``training.program``, for shapes in place of arrays."""
    leaves, tree = jax.tree.flatten(state)
    kept = (leaf.format if leaf.ndim == 4 else leaf.sharding for leaf in leaves)
    return training._compiled(function, tree, tuple(kept))


def mesh(there: NamedSharding, width: str, devices: str, data: str, images: str) -> Part:
    """A step in bfloat16, ``images`` per device: the state is split over devices / data devices."""
    count, copies = int(devices), int(data)
    found = np.array(there.mesh.devices).reshape(copies, count // copies)
    layout = sharding.Layout(Mesh(found, sharding.AXES))
    network = UNet(int(width), precision="bfloat16")
    alone = training.Objective(network.velocity_fn(), rate=2e-4, precision="bfloat16")
    params = jax.eval_shape(partial(network.init, x0=shaped(1, *MAP)), KEY)
    state = jax.eval_shape(partial(training.init_state, alone), params)
    split = jax.tree.map(
        lambda leaf, place: on(place, leaf, kernels="bfloat16"), state, layout.shardings(state)
    )
    whole = NamedSharding(layout._on().mesh, PartitionSpec())
    batch = int(images) * count
    rest = shaped(batch, *MAP), shaped(batch, dtype=jnp.int32), KEY
    given = alone._replace(layout=layout), split, *(on(whole, part) for part in rest)
    of_all = partial(training._step, alone)
    return Part(program(training._step, split), given, of_all, (state, *rest), 1 / count)


def steps(there: NamedSharding, width: str, precision: str, count: str) -> Part:
    """Euler steps of one map."""
    network = UNet(int(width), precision=precision)  # pyright: ignore[reportArgumentType]
    field, x = network.velocity_fn(), shaped(1, *MAP)
    shapes = lambda key: network.rounded(network.init(key, x))  # noqa: E731
    params = jax.eval_shape(shapes, KEY)
    solve = jax.jit(partial(ode.push_forward, field, steps=int(count)))
    given = on(there, params, kernels=precision), on(there, x)
    return Part(solve, given, field, (params, shaped(), shaped(*MAP)), int(count))


def backbone(there: NamedSharding, weights: str | None) -> Part:
    """Features of eight images of 512²."""
    of = loaded(weights)
    images = shaped(BATCH, 512, 512, 3, dtype=jnp.uint8)
    params = jax.tree.map(lambda a: shaped(*a.shape, dtype=a.dtype), of.params)
    return weights_laid_out(there, jitted(there, partial(features.taken, of.apply), params, images))


def weights_laid_out(there: NamedSharding, part: Part) -> Part:
    """Return a part whose first argument, a backbone's weights, has the layout after loading."""
    first = part.plain[0]
    if isinstance(first, tuple):
        given = (on(there, first[0], kernels="float32"), *part.arguments[0][1:])
    else:
        given = on(there, first, kernels="float32")
    return part._replace(arguments=(given, *part.arguments[1:]))


def loaded(weights: str | None) -> backbones.Backbone:
    name = "resnet18" if weights else "efficientnet_lite0"
    return backbones.load(name, weights=weights, cache=CACHE)


def images(there: NamedSharding, weights: str | None) -> Part:
    """Eight images of 512² to scores, with the default of ``wtflow fit``: no network."""
    of = loaded(weights)
    config = configure(preset="auto", backbone=of.name)
    size = config.features.size
    fitted, _ = detector.init(config, noise(8, *features.shape(of, size)))
    run, arrays = route.program(of, fitted, size, detector.sampling(config))
    plain = jax.tree.map(lambda a: shaped(*np.shape(a), dtype=np.asarray(a).dtype), arrays)
    images = shaped(BATCH, *size, 3, dtype=jnp.uint8)
    return weights_laid_out(there, jitted(there, run, plain, images))


def noise(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def scored(there: NamedSharding, velocity: str) -> Part:
    """The scores of eight maps of 16×16×256 by a velocity that is fitted to 24 maps."""
    config = configure(velocity=velocity, wt="whiten")
    fitted, _ = detector.init(config, noise(24, 16, 16, 256))
    how = detector.sampling(config)
    arrays = fitted.params, fitted.stats, jnp.zeros((BATCH, 16, 16, 256))
    plain = jax.tree.map(lambda a: shaped(*a.shape, dtype=a.dtype), arrays)
    part = jitted(there, partial(algorithm.sample, how), *plain)
    params = on(there, plain[0], kernels="float32" if velocity == "unet" else "")
    return part._replace(arguments=(params, *part.arguments[1:]))


def whitening(there: NamedSharding, images: str) -> Part:
    """The fit of whitening under the preset auto, on maps of 16×16×256."""
    n, c, folds = int(images), 256, 5
    ranks = tuple(Rank.tapering(min(m, c)) for m in (n, n - -(-n // folds)))
    near = configure(preset="auto").flags()["near"]
    fit = partial(_fit.__wrapped__, ranks=ranks, folds=folds, near=near)  # pyright: ignore
    return jitted(there, fit, shaped(n, 16, 16, c), shaped(3))


BUILD: dict[str, Callable[..., Part]] = {
    "train": train,
    "mesh": mesh,
    "steps": steps,
    "backbone": backbone,
    "images": images,
    "scores": scored,
    "whitening": whitening,
}


def parts(settings: Settings) -> list[str]:
    """Return the requested parts: a name of ``BUILD`` and its arguments."""
    sizes = [(w, p) for w in ("768", "512") for p in ("bfloat16", "float32")]
    every = [f"train {w} {p} {how}" for w, p in sizes for how in ("loop", "step")]
    every += [f"steps {w} {p} {n}" for w, p in sizes for n in (1, 20)]
    every += ["backbone", "images"]
    every += [f"scores {name}" for name in ("none", "unet", "exact", "gaussian", "mixture")]
    every += ["whitening 209", *(f"mesh 768 {n} 1 8" for n in (2, 4, 8))]
    every += ["mesh 768 8 2 8", "mesh 768 16 2 8", "mesh 4096 32 1 1"]
    return [name for name in every if not settings.parts or name.startswith(settings.parts)]


def compiled(settings: Settings, where: str, name: str) -> dict[str, Any]:
    """Compile a part for a card, and return the figures of its program."""
    kind, *arguments = name.split()
    devices = int(arguments[1]) if kind == "mesh" else 1
    # Slices, hosts per slice, devices per host.
    there = card(where, f"1x{-(-devices // NODE)}x{min(devices, NODE)}")
    given = [settings.weights] if kind in ("backbone", "images") else arguments
    part = BUILD[kind](there, *given)
    start = time.perf_counter()
    made = part.jitted.lower(*part.arguments).compile(
        compiler_options={"xla_gpu_autotune_level": 0}
    )
    seconds = time.perf_counter() - start
    text = made.as_text()
    if settings.texts:
        settings.texts.mkdir(parents=True, exist_ok=True)
        (settings.texts / f"{where} {name}.txt".replace(" ", "-")).write_text(text)
    counted = jax.jit(part.pure).lower(*part.plain).cost_analysis()
    flops = part.times * counted["flops"]  # pyright: ignore
    held, does, sheet = made.memory_analysis(), hlo.analysed(text), DEVICES[where]
    precision = "bfloat16" if "bfloat16" in name or kind == "mesh" else "float32"
    # A training loop is entered once per ``LENGTH`` steps; figures are per step.
    often = training.LENGTH if name.endswith("loop") else 1
    moved = does.moved - does.outside + does.outside / often
    least = max(flops / sheet.peak[precision], moved / sheet.bandwidth)
    return {
        "compiled in, s": seconds,
        "arguments, GB": held.argument_size_in_bytes / 1e9,
        "temporaries, GB": held.temp_size_in_bytes / 1e9,
        "fits": held.argument_size_in_bytes + held.temp_size_in_bytes < USABLE * sheet.memory,
        "GFLOP": flops / 1e9,
        "moved, GB": moved / 1e9,
        "copied, GB": does.copies / 1e9,
        "least, ms": 1e3 * least,
        "kernels in all": does.kernels.total(),
        "kernels": dict(does.kernels),
        "types": dict(does.types),
        "copies": dict(does.largest.most_common(8)),
        "scatters": dict(does.scatters),
        "callbacks": does.kernels["host callback"],
        "sent, GB": {name: sent / 1e9 for name, sent in does.sent.items()},
        "hidden, GB": does.hidden / 1e9,
    }


def main(settings: Settings) -> None:
    """Compile the parts, and print one table per card."""
    found: dict[str, dict[str, Any]] = {}
    console = Console(width=120)
    for where in settings.cards:
        table = Table(title=where)
        columns = "GB: arguments", "temporaries", "moved", "copied", "least, ms", "kernels"
        for heading in ("", *columns):
            table.add_column(heading, justify="right" if heading else "left")
        for name in parts(settings):
            try:
                one = compiled(settings, where, name)
            except Exception as error:  # the other parts still run
                one = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
            found.setdefault(where, {})[name] = one
            if "failed" in one:
                table.add_row(name, one["failed"])
            else:
                keys = "arguments, GB", "temporaries, GB", "moved, GB", "copied, GB"
                numbers = [f"{one[key]:.2f}" for key in keys]
                total = one["kernels in all"]
                table.add_row(name, *numbers, f"{one['least, ms']:.2f}", f"{total:,}")
            print(f"{where}, {name}: {one}", flush=True)
            if settings.json:
                settings.json.write_text(json.dumps(found, indent=1))
        console.print(table)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
