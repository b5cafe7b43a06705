"""How much AUROC does the rounding of products on a GPU cost? Emulated on any machine.

    python benchmarks/rounding.py --root data --weights resnet18.safetensors

Inputs of each matrix product and convolution are rounded to TF32 (ten bits of mantissa) or bfloat16
(seven); sums stay float32, as on NVIDIA's tensor cores. "Where allowed" rounds products that do not
request full precision, as the library does on a GPU. "Everywhere" rounds all products, also those
of the backbone and of whitening. In whitening no product may be rounded; in the paper's method
those of the network may, in training and at inference.
"""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax.extend import core
from rich.console import Console

from wtflow_jax import backbones, data, metrics
from wtflow_jax.backbones import features
from wtflow_jax.detector import detector, route
from wtflow_jax.detector.config import Config, configure
from wtflow_jax.flow.maps import whitening
from wtflow_jax.support.console import Table, show
from wtflow_jax.training import state as training

BITS = {"TF32": 10, "bfloat16": 7}
HIGHEST = jax.lax.Precision.HIGHEST
METHODS: dict[str, dict[str, Any]] = {
    "auto": {"preset": "auto", "pose": "off"},
    "the paper's": {"preset": "small", "wt": "layer_norm", "velocity": "unet"},
}


@dataclass(frozen=True)
class Settings:
    """What to emulate."""

    root: Path
    """Directory of categories in the layout of MVTec AD."""
    weights: str
    """File of ResNet-18 weights."""
    categories: tuple[str, ...] = ("bottle", "screw")
    """Categories."""
    methods: tuple[str, ...] = ("auto",)
    """Names from ``METHODS``; a network trains for minutes, with rounded products for longer."""
    bits: tuple[str, ...] = tuple(BITS)
    """Number formats to round to."""
    size: int = 512
    """Height and width of the images."""
    images: int | None = None
    """Largest number of training and of test images, for a quick trial."""
    json: Path | None = None
    """File for the figures, written after each row."""


def rounded(function: Callable[..., Any], bits: int, everywhere: bool) -> Callable[..., Any]:
    """Return a function of arrays that rounds the inputs of its products."""

    def call(*arguments: Any) -> Any:
        made, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
        found = evaluate(made, jax.tree.leaves(arguments), bits, everywhere)
        return jax.tree.unflatten(jax.tree.structure(shape), found)

    return call


def evaluate(made: core.ClosedJaxpr, given: list[Any], bits: int, everywhere: bool) -> list[Any]:
    """Run a program equation by equation, including the bodies of its loops."""
    inner = partial(evaluate, bits=bits, everywhere=everywhere)
    values: dict[Any, Any] = dict(zip(made.jaxpr.constvars, made.consts, strict=True))
    values |= dict(zip(made.jaxpr.invars, given, strict=True))
    read = lambda v: v.val if isinstance(v, core.Literal) else values[v]  # noqa: E731

    def near(x: jax.Array) -> jax.Array:
        return jax.lax.reduce_precision(x, 8, bits) if x.dtype == jnp.float32 else x

    for equation in made.jaxpr.eqns:
        arguments, of = [read(v) for v in equation.invars], equation.params
        match equation.primitive.name:
            case "dot_general" | "conv_general_dilated":
                exact = of["precision"] is not None and HIGHEST in of["precision"]
                if everywhere or not exact:
                    arguments = [near(x) for x in arguments]
                found = equation.primitive.bind(*arguments, **of)
            case "jit" | "pjit" | "closed_call" | "remat2" | "checkpoint":
                closed = of["jaxpr"]
                closed = closed if hasattr(closed, "consts") else core.ClosedJaxpr(closed, ())
                found = inner(closed, arguments)
            case "custom_jvp_call" | "custom_vjp_call":
                found = inner(of.get("call_jaxpr") or of["fun_jaxpr"], arguments)
            case "scan":
                found = scan(equation, arguments, inner)
            case "while":
                a, b = of["cond_nconsts"], of["cond_nconsts"] + of["body_nconsts"]
                test = lambda c, of=of, k=arguments[:a]: inner(of["cond_jaxpr"], [*k, *c])[0]  # noqa: E731
                body = lambda c, of=of, k=arguments[a:b]: inner(of["body_jaxpr"], [*k, *c])  # noqa: E731
                found = jax.lax.while_loop(test, body, arguments[b:])
            case "cond":
                ways = [lambda *x, way=way: inner(way, list(x)) for way in of["branches"]]
                found = jax.lax.switch(arguments[0], ways, *arguments[1:])
            case _:
                assert "call_jaxpr" not in of, f"{equation.primitive} is not supported"
                found = equation.primitive.bind(*arguments, **of)
        found = found if isinstance(found, list | tuple) else [found]
        values |= dict(zip(equation.outvars, found, strict=True))
    return [read(v) for v in made.jaxpr.outvars]


def scan(equation: core.JaxprEqn, arguments: list[Any], inner: Callable[..., Any]) -> list[Any]:
    """Run a scan equation with rounded products in its body."""
    of = equation.params
    fixed, carried = of["num_consts"], of["num_carry"]

    def body(carry: list[Any], rows: list[Any]) -> tuple[list[Any], list[Any]]:
        found = inner(of["jaxpr"], [*arguments[:fixed], *carry, *rows])
        return found[:carried], found[carried:]

    start = arguments[fixed : fixed + carried]
    options = {"length": of["length"], "reverse": of["reverse"]}
    carry, rows = jax.lax.scan(body, start, arguments[fixed + carried :], **options)
    return [*carry, *rows]


def rounding(bits: int, everywhere: bool) -> ExitStack:
    """Return an entered context in which the library's compiled functions round."""

    def first(function: Callable[..., Any]) -> Callable[..., Any]:
        made: dict[Any, Any] = {}

        def call(static: Any, *arguments: Any) -> Any:
            if static not in made:
                made[static] = jax.jit(rounded(partial(function, static), bits, everywhere))
            return made[static](*arguments)

        return call

    def taken(apply: Any, params: Any, images: Any, how: Any) -> Any:
        return run((apply, how), params, images)

    run = first(lambda how, params, images: features.taken(how[0], params, images, how[1]))
    whiten: Any = whitening._fit.__wrapped__  # pyright: ignore
    fit = first(lambda how, *arrays: whiten(*arrays, *how))
    stack = ExitStack()
    places: list[tuple[Any, str, Any]] = [
        (features, "run", taken),
        (whitening, "_fit", lambda *given: fit(given[2:], *given[:2])),
        (route, "_sample", first(route.sample)),
        (training, "step", first(training._step)),
    ]
    for place, name, function in places:
        stack.enter_context(patch.object(place, name, function))
    return stack


def measure(settings: Settings, category: str, config: Config) -> dict[str, float]:
    """Fit on a category, and return AUROC in %."""
    found = data.open_category(settings.root, category)
    train, test = found.train, found.test
    if settings.images:
        train, test = train[: settings.images], test[:: max(1, len(test) // settings.images)]
    layer, size = config.features.layer, config.features.size
    given = {"layer": layer, "weights": settings.weights, "cache": Path(".")}
    backbone = backbones.load("resnet18", **given)

    def maps(samples: Any) -> np.ndarray:
        parts = [samples[i : i + 8] for i in range(0, len(samples), 8)]
        read = lambda part: np.stack([data.read_image(s.path, size) for s in part])  # noqa: E731
        return np.concatenate([features.compute(backbone, read(part)) for part in parts])

    fitted = detector.fit(config, jnp.asarray(maps(train)))
    scored = route.predict(fitted, maps(test), route.upsampling(backbone, config, size))
    labels = np.array([sample.label for sample in test], bool)
    masks = np.stack([data.read_mask(sample, size) for sample in test])
    return {
        "image": 100 * (metrics.auroc(scored.scores, labels) or 0),
        "pixel": 100 * (metrics.auroc(scored.maps, masks) or 0),
    }


def main(settings: Settings) -> None:
    """Measure each kind of rounding, and print a table."""
    rows: list[dict[str, Any]] = []
    ways: list[tuple[str, int, bool]] = [("float32", 0, False)]
    for name in settings.bits:
        ways += [
            (f"{name} where allowed", BITS[name], False),
            (f"{name} everywhere", BITS[name], True),
        ]
    size = f"{settings.size}x{settings.size}"
    for method in settings.methods:
        config = configure(**METHODS[method], backbone="resnet18", image_size=size)
        for category in settings.categories:
            for way, bits, everywhere in ways:
                with rounding(bits, everywhere) if bits else ExitStack():
                    row = {"method": method, "category": category, "rounded": way}
                    rows.append(row | measure(settings, category, config))
                print(rows[-1], flush=True)
                if settings.json:
                    settings.json.write_text(json.dumps(rows, indent=1))
    columns = "method", "category", "products", "image AUROC", "pixel AUROC"
    body = [
        [
            row["method"],
            row["category"],
            row["rounded"],
            f"{row['image']:.3f}",
            f"{row['pixel']:.3f}",
        ]
        for row in rows
    ]
    show(Table(f"rounded products, {settings.size}²", columns, body), Console())


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
