"""How fast is the library on a GPU? Each part is its own process; if one fails, others still run.

    python benchmarks/gpu.py --json gpu.json
    python benchmarks/gpu.py --weights resnet18.safetensors   # in place of the built-in backbone
    python benchmarks/gpu.py --cpu                            # small shapes, as a check

Needs no data. Times are medians of calls that wait for their result, without compilation. The part
``card`` measures the rates of a large matrix product and a large copy, for comparison. The paper:
6.7 ms for one step, 330 ms for twenty, on an RTX 3090, at width 768.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console

import peers

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
PARTS = (
    "card",
    *(f"train {w} {p}" for w in (768, 512) for p in ("bfloat16", "float32")),
    *(f"torch {w} {p}" for w in (768, 512) for p in ("bfloat16", "float32")),
    *(f"steps {w} {p}" for w in (768, 512) for p in ("bfloat16", "float32")),
    "whitening",
    "whitening highest",
    "exact",
    "route",
    "builtin",
    "builtin cpu",
    "bits",
    "bits deterministic",
)
"""Names with arguments, the most important first."""


@dataclass(frozen=True)
class Settings:
    """What to time."""

    parts: tuple[str, ...] = ()
    """Run only parts whose names begin like this; left out: all."""
    weights: str | None = None
    """File of our ResNet-18; left out: the built-in backbone."""
    seconds: float = 120
    """Time limit of a part, including compilation."""
    cpu: bool = False
    """Use small shapes on the CPU, to check that all parts run."""
    json: Path | None = None
    """File for the figures, written after each part."""
    worker: str | None = None
    """Internal: run as this part."""

    @property
    def channels(self) -> int:
        """Channels of a map of 16 × 16 cells."""
        return 32 if self.cpu else 1024

    @property
    def images(self) -> int:
        """Images that whitening is fitted on: bottle has 209."""
        return 12 if self.cpu else 209

    @property
    def repeats(self) -> int:
        """Number of timed calls."""
        return 2 if self.cpu else 20

    def width(self, asked: str) -> int:
        """Return a network's width."""
        return 8 if self.cpu else int(asked)


Figures = dict[str, Any]


def card(settings: Settings) -> Figures:
    """Return versions, and the card's rates of matrix products and copies."""
    import jax
    import jax.numpy as jnp

    from wtflow_jax.support.environment import environment

    size = 256 if settings.cpu else 8192
    found: Figures = environment() | {"memory": jax.devices()[0].memory_stats()}
    ways = {"bfloat16": (jnp.bfloat16, None), "tf32": (jnp.float32, "tensorfloat32")}
    for name, (dtype, precision) in (ways | {"float32": (jnp.float32, "highest")}).items():
        a = jax.random.normal(jax.random.key(0), (size, size), dtype)
        product = jax.jit(partial(jnp.matmul, precision=precision))
        seconds = peers.median_seconds(lambda: product(a, a).block_until_ready(), settings.repeats)  # noqa: B023
        found[f"TFLOP/s {name}"] = 2 * size**3 / seconds / 1e12
    a = jnp.zeros(2**20 if settings.cpu else 2**30)
    copy = jax.jit(lambda a: a + 1)
    seconds = peers.median_seconds(lambda: copy(a).block_until_ready(), settings.repeats)
    return found | {"GB/s": 2 * a.nbytes / seconds / 1e9}


def memory(compiled: Any) -> Figures:
    """Return the memory of a compiled program, in GB."""
    of = compiled.memory_analysis()
    names = "argument", "output", "alias", "temp"
    return {f"GB {n}": getattr(of, f"{n}_size_in_bytes") / 1e9 for n in names}


def train(settings: Settings, width: str, precision: str) -> Figures:
    """Time a compiled loop of sixteen training steps, batch 8."""
    import jax

    from wtflow_jax.app import plan
    from wtflow_jax.support.kernels import laid_out
    from wtflow_jax.training import state as training
    from wtflow_jax.velocities.unet import UNet

    x0 = jax.random.normal(jax.random.key(1), (64, 16, 16, settings.channels))
    network = UNet(settings.width(width), precision=precision)  # pyright: ignore[reportArgumentType]
    objective = training.Objective(network.velocity_fn(), rate=2e-4, precision=precision)
    state = training.init_state(objective, network.init(jax.random.key(0), x0))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    order = np.random.default_rng(0).integers(0, 64, (training.LENGTH, 8)).astype(np.int32)
    key = jax.random.key(2)
    sizes = {"width": network.width, "channels": settings.channels, "precision": precision}
    planned = plan.plan(plan.Settings(**sizes))  # pyright: ignore[reportArgumentType]
    flops = planned.step_flops
    bounds = np.int32(0), np.int32(training.LENGTH)
    state = laid_out(state, precision)
    loop_of = training.program(training._loop, state)
    held = memory(loop_of.lower(objective, state, x0, order, *bounds, key).compile())

    def loop() -> None:
        nonlocal state
        *_, (state, _) = training.steps(objective, state, x0, order, key)

    start = time.perf_counter()
    loop()
    first = time.perf_counter() - start
    step = peers.median_seconds(loop, 2 if settings.cpu else 6, 1) / training.LENGTH
    rates = {"ms": 1e3 * step, "images/s": 8 / step, "TFLOP/s": flops / step / 1e12}
    peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 1e9
    expected = planned.state_bytes + planned.gradient_bytes + planned.activation_bytes
    sizes = {"GB peak": peak, "GB planned": expected / 1e9}
    return rates | {"parameters": parameters, "first": first} | sizes | held


def torch(settings: Settings, width: str, precision: str) -> Figures:
    """Time the same network in torch: a training step at batch 8, the forward at batch 1."""
    import torch

    from torch_unet import UNet

    device = "cpu" if settings.cpu else "cuda"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    network = UNet(settings.channels, settings.width(width))
    network = network.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-4, weight_decay=0.1, fused=True)
    x0 = torch.randn(8, settings.channels, 16, 16, device=device)
    x0 = x0.to(memory_format=torch.channels_last)
    cast = partial(torch.autocast, device, torch.bfloat16, enabled=precision == "bfloat16")
    wait = (lambda: None) if settings.cpu else torch.cuda.synchronize

    def step() -> None:
        t, x1 = torch.rand(8, device=device), torch.randn_like(x0)
        s = t[:, None, None, None]
        with cast():
            loss = ((x1 - x0 - network(t, (1 - s) * x0 + s * x1)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        wait()

    def forward() -> None:
        with torch.inference_mode(), cast():
            network(torch.zeros(1, device=device), x0[:1])
        wait()

    found: Figures = {}
    for name in ("eager",) if settings.cpu else ("eager", "compile"):
        if name == "compile":
            network.compile()
        found[f"step {name} ms"] = 1e3 * peers.median_seconds(step, settings.repeats)
        found[f"forward {name} ms"] = 1e3 * peers.median_seconds(forward, settings.repeats)
    peak = 0 if settings.cpu else torch.cuda.max_memory_allocated()
    return found | {"GB peak": peak / 1e9, "version": torch.__version__}


def steps(settings: Settings, width: str, precision: str) -> Figures:
    """Time one and twenty Euler steps of one map and of eight maps."""
    import jax

    from wtflow_jax.flow import ode
    from wtflow_jax.velocities.unet import UNet

    x0 = jax.random.normal(jax.random.key(1), (8, 16, 16, settings.channels))
    network = UNet(settings.width(width), precision=precision)  # pyright: ignore[reportArgumentType]
    params = network.rounded(network.init(jax.random.key(0), x0))
    found: Figures = {"GB weights": sum(a.nbytes for a in jax.tree.leaves(params)) / 1e9}
    for batch in (1, 8):
        for n in (1, 20):
            solve = jax.jit(partial(ode.push_forward, network.velocity_fn(), steps=n))
            x = x0[:batch]
            held = memory(solve.lower(params, x).compile())
            call = lambda: solve(params, x).block_until_ready()  # noqa: B023, E731
            name = f"batch {batch}, {n} steps"
            found[f"{name}: ms"] = 1e3 * peers.median_seconds(call, settings.repeats)
            found[f"{name}: GB temp"] = held["GB temp"]
    return found


def features(settings: Settings, images: int) -> np.ndarray:
    """Return low-rank features with noise, off the origin (n, 16, 16, c)."""
    rng, c = np.random.default_rng(0), settings.channels
    shared = rng.normal(size=(images, 16, 16, 24)).astype(np.float32)
    mixed = shared @ rng.normal(size=(24, c)).astype(np.float32) / 5
    return mixed + 0.2 * rng.normal(size=mixed.shape).astype(np.float32) + 1


def whitening(settings: Settings, precision: str | None = None) -> Figures:
    """Time the fit and application of whitening; compare x0 with NumPy in float64."""
    import jax

    from wtflow_jax.flow.maps.whitening import Whiten

    if precision:
        jax.config.update("jax_default_matmul_precision", precision)
    f, wt = features(settings, settings.images), Whiten()
    there = jax.device_put(f)
    fit = lambda: jax.block_until_ready(wt.fit(there))  # noqa: E731
    start = time.perf_counter()
    stats = fit()
    first = time.perf_counter() - start
    found = {"fit ms": 1e3 * peers.median_seconds(fit, 3, 0), "first": first}
    batch = there[:8]
    apply = jax.jit(wt.apply)
    call = lambda: apply(stats, batch).block_until_ready()  # noqa: E731
    found["apply batch 8 ms"] = 1e3 * peers.median_seconds(call, settings.repeats)
    s = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), stats)
    z = (f[:8].reshape(8, 256, -1) - s.mean) @ s.shared - s.offset
    along = np.einsum("npc,prc->npr", z, s.basis) * s.gain
    exact = s.scale * (s.rest * z + np.einsum("npr,prc->npc", along, s.basis))
    ours = np.asarray(call()).reshape(exact.shape)
    found["apply error"] = float(np.linalg.norm(ours - exact) / np.linalg.norm(exact))
    # Compare with a fit on the CPU: both are float32 and differ only by rounding.
    with jax.default_device(jax.devices("cpu")[0]):
        here = jax.device_put(f)
        other = np.asarray(wt.apply(wt.fit(here), here[:8])).reshape(exact.shape)
    found["fit and apply, from the CPU's"] = float(
        np.linalg.norm(ours - other) / np.linalg.norm(other)
    )
    return found


def exact(settings: Settings) -> Figures:
    """Time the exact field at one map's 256 positions; compare it with float64."""
    import jax
    import jax.numpy as jnp

    import exact_field
    from wtflow_jax.geometry.empirical import empirical_velocity

    field, found = jax.jit(jax.vmap(empirical_velocity, (None, None, 0))), Figures()
    for patches in (500,) if settings.cpu else (12_000, 50_000):
        for t in (0.001, 0.05, 1.0):
            data, x = exact_field.inputs(exact_field.Settings(patches), t)
            given = jnp.asarray(data), jnp.float32(t), jnp.asarray(x)
            call = lambda: field(*given).block_until_ready()  # noqa: B023, E731
            right, some = exact_field.direct(data, float(given[1]), x[:32]), np.asarray(call())[:32]
            size = np.maximum(*(np.linalg.norm(part, axis=1) for part in (right, x[:32])))
            name = f"{patches} patches, t = {t}"
            found[f"{name}: ms"] = 1e3 * peers.median_seconds(call, settings.repeats)
            found[f"{name}: error"] = float(np.max(np.linalg.norm(some - right, axis=1) / size))
    return found


def route(settings: Settings) -> Figures:
    """Time decoded images of 512² to scores, with a network of width 64 and one Euler step."""
    import jax

    from wtflow_jax import backbones
    from wtflow_jax.backbones import features as of
    from wtflow_jax.detector import detector, route
    from wtflow_jax.detector.config import configure
    from wtflow_jax.support.environment import CACHE

    size = (64, 64) if settings.cpu else (512, 512)
    name = "resnet18" if settings.weights else "efficientnet_lite0"
    backbone = backbones.load(name, weights=settings.weights, cache=CACHE)
    config = configure(backbone=name, width=8 if settings.cpu else 64, steps_det=1)
    fitted, _ = detector.init(config, jax.numpy.zeros((2, *of.shape(backbone, size))))
    found: Figures = {"backbone": name}
    for batch in (1, 8, 32):
        images = np.random.default_rng(0).integers(0, 256, (batch, *size, 3), np.uint8)
        score = route.scorer(backbone, fitted, size, batch)
        call = partial(score, images)
        found[f"images to scores, batch {batch}: ms"] = 1e3 * peers.median_seconds(
            call, settings.repeats
        )
        there = jax.device_put(images)
        alone = lambda: of.run(backbone.apply, backbone.params, there).block_until_ready()  # noqa: B023, E731
        found[f"features, batch {batch}: ms"] = 1e3 * peers.median_seconds(alone, settings.repeats)
    return found


def builtin(settings: Settings, _where: str = "") -> Figures:
    """Run ``experiments/mvtec.py`` on its built-in category, from process start to tables."""
    script = Path(__file__).parents[1] / "experiments" / "mvtec.py"
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory)
        places = [f"--{name}={out / name}" for name in ("out", "models")]
        command = [sys.executable, str(script), *places, *["--smoke"] * settings.cpu]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        (row,) = json.loads((out / "out" / "results.json").read_text())["rows"]
    names = "image_auroc", "pixel_auroc"
    return {name: row[name] for name in names} | {
        "process, s": seconds,
        "on": row["environment"]["device"],
    }


def bits(settings: Settings, _how: str = "") -> Figures:
    """Return a digest of the state after 32 training steps, to compare two processes."""
    import jax

    from wtflow_jax.training import state as training
    from wtflow_jax.velocities.unet import UNet

    x0 = jax.random.normal(jax.random.key(1), (64, 16, 16, min(settings.channels, 256)))
    network = UNet(8 if settings.cpu else 128)
    objective = training.Objective(network.velocity_fn(), rate=2e-4)
    state = training.init_state(objective, network.init(jax.random.key(0), x0))
    order = np.random.default_rng(0).integers(0, 64, (32, 8)).astype(np.int32)
    *_, (state, losses) = training.steps(objective, state, x0, order, jax.random.key(2))
    digest = hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in jax.tree.leaves(state)))
    return {"digest": digest.hexdigest()[:16], "loss": losses[-1]}


RUN: dict[str, Callable[..., Figures]] = {
    "card": card,
    "train": train,
    "torch": torch,
    "steps": steps,
    "whitening": whitening,
    "exact": exact,
    "route": route,
    "builtin": builtin,
    "bits": bits,
}


def run(settings: Settings, name: str) -> Figures:
    """Run a part in its own process; return its figures, or the reason of its failure."""
    own = [sys.executable, __file__, "--worker", name]
    own += ["--cpu"] if settings.cpu else []
    own += ["--weights", settings.weights] if settings.weights else []
    environment = dict(os.environ)
    if settings.cpu or name == "builtin cpu":
        environment["JAX_PLATFORMS"] = "cpu"
    if name == "bits deterministic":
        environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}"
    start = time.perf_counter()
    try:
        limit = settings.seconds
        done = subprocess.run(own, capture_output=True, text=True, timeout=limit, env=environment)
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {settings.seconds:.0f} s"}
    took = {"seconds": time.perf_counter() - start}
    if done.returncode:
        return {"failed": "\n".join(done.stderr.splitlines()[-8:])} | took
    return json.loads(done.stdout.splitlines()[-1]) | took


def asked(settings: Settings) -> Iterator[str]:
    """Return the requested parts; ``bits`` twice, to compare two processes."""
    for name in PARTS:
        if not settings.parts or any(name.startswith(part) for part in settings.parts):
            yield name
            if name.startswith("bits"):
                yield name


def main(settings: Settings) -> None:
    """Run the parts and print their figures."""
    found: dict[str, Any] = {}
    console = Console(width=120)
    for name in asked(settings):
        figures = run(settings, name)
        key = f"{name}, again" if name in found else name
        found[key] = figures
        console.rule(key, align="left")
        for label, value in figures.items():
            shown = f"{value:.5g}" if isinstance(value, float) else str(value)
            print(f"  {label}: {shown}", flush=True)
        if settings.json:
            settings.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    given = tyro.cli(Settings, description=__doc__)
    if given.worker is None:
        main(given)
    else:
        name, *arguments = given.worker.split()
        if name != "torch":
            from wtflow_jax.support import compilation
            from wtflow_jax.support.environment import CACHE

            compilation.keep(CACHE / "compiled")
        print(json.dumps(RUN[name](given, *arguments)))
