"""What all experiments share: flags, the loop over categories, files and the closing table."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from rich.console import Console, RenderableType
from rich.table import Table

import category as category_run
import wtflow_jax
from wtflow_jax import backbones, datasets
from wtflow_jax.config import Config, defaults
from wtflow_jax.datasets import Category, Sample
from wtflow_jax.errors import WTFlowError

PaperFigures = Mapping[str, Mapping[str, tuple[float, float]]]
Results = dict[str, Any]
Run = Callable[[Config, backbones.Backbone, Category, tuple[int, int], Path], Results]
"""One category: ``run(config, backbone, category, size, directory) -> its entry``."""


def parse(arguments: Sequence[str], description: str) -> Config:
    """Read flags on top of the defaults of the preset they name."""

    def read(default: Config) -> Config:
        return tyro.cli(Config, args=list(arguments), default=default, description=description)

    return read(defaults(read(Config())))


def main(
    arguments: Sequence[str],
    *,
    description: str,
    show: Callable[[Config, Results], RenderableType],
    one: Run = category_run.run,
) -> int:
    """Run an experiment from the command line and return its exit status.

    Args:
        arguments: the flags.
        description: what ``--help`` says of it.
        show: the closing table, of the config and the contents of ``results.json``.
        one: what is done with a category.
    """
    try:
        config = parse(arguments, description)
        results = run(config, one)
    except WTFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    Console().print(show(config, results))
    return 0


def _commit() -> str | None:
    command = ["git", "rev-parse", "HEAD"]
    here = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def environment(config: Config) -> Results:
    """Return what a result depends on beside its config."""
    packages = ["jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "diffrax", "numpy", "pillow"]
    device = jax.devices()[0]
    return {
        "versions": {"python": sys.version.split()[0], "wtflow-jax": wtflow_jax.__version__}
        | {name: version(name) for name in packages},
        "device": f"{device.platform}: {device.device_kind}, {os.cpu_count()} cores",
        "git_commit": _commit(),
        "seed": config.seed,
    }


def _comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k not in ("resume", "cache", "out")}


def _open_out(config: Config) -> Results:
    """Return the results so far: those of the run to resume, or empty ones."""
    path = config.out / "results.json"
    as_json = json.loads(json.dumps(asdict(config), default=str))
    if config.out.exists() and not config.out.is_dir():
        raise WTFlowError(f"{config.out}: is a file; give a directory as --out")
    fresh = {"config": as_json, "environment": None, "categories": {}, "mean": {}}
    found = {entry.name for entry in config.out.iterdir()} if config.out.exists() else set()
    if not found:
        return fresh
    if not config.resume and found != {path.name}:
        raise WTFlowError(f"{config.out}: is not empty; give --resume, or another --out")
    if not path.exists():
        raise WTFlowError(
            f"{config.out}: has no results.json, so its flags are not known; give another --out"
        )
    try:
        results = json.loads(path.read_text())
        was, now = _comparable(results["config"]), _comparable(as_json)
        finished = set(results["categories"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WTFlowError(f"{path}: is no results file; give another --out") from error
    if not config.resume:
        # A run that ended before its first category, of a bad image for instance.
        if not finished:
            return fresh
        raise WTFlowError(f"{config.out}: is not empty; give --resume, or another --out")
    changed = [k for k in now if was.get(k) != now[k]]
    if changed:
        k = changed[0]
        raise WTFlowError(
            f"{path}: was run with {k} = {was.get(k)}, not {now[k]}; "
            "give the same flags to --resume, or another --out"
        )
    return results


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(text)
    os.replace(part, path)


def _thin(samples: tuple[Sample, ...], count: int) -> tuple[Sample, ...]:
    return samples[:: max(1, len(samples) // count)][:count]


def _open_category(config: Config, root: Path, name: str) -> Category:
    category = datasets.open_category(root, name)
    if config.smoke:
        good = tuple(s for s in category.test if not s.label)
        bad = tuple(s for s in category.test if s.label)
        test = _thin(good, 6) + _thin(bad, 6)
        category = category._replace(train=_thin(category.train, 16), test=test)
    for label, word in ((0, "good"), (1, "defective")):
        if not any(s.label == label for s in category.test):
            raise WTFlowError(f"{root / name}: no {word} test image; AUROC needs both kinds")
    return category


def run(config: Config, one: Run = category_run.run) -> Results:
    """Go through the categories, writing ``results.json`` after each.

    Args:
        config: the run's.
        one: what is done with a category.

    Returns:
        The contents of ``results.json``.

    Raises:
        WTFlowError: bad input, in one line.
    """
    config.check()
    size = datasets.parse_size(config.image_size)
    results = _open_out(config)
    root = datasets.generate(config.cache / "builtin") if config.root is None else config.root
    names = dict.fromkeys(config.categories or datasets.categories(root))
    if config.root is None and not set(names) <= set(built_in := datasets.categories(root)):
        raise WTFlowError(
            f"--categories {' '.join(names)}: without --root there is only {' '.join(built_in)}; "
            "give --root"
        )
    categories = [_open_category(config, root, name) for name in names]
    todo = [category for category in categories if category.name not in results["categories"]]
    if not todo:
        return results
    backbone = backbones.load(
        config.backbone, layer=config.layer, weights=config.weights, cache=config.cache
    )
    config.out.mkdir(parents=True, exist_ok=True)
    results["environment"] = environment(config)
    # Before the first category too: --resume compares its flags with these.
    _write(config.out / "results.json", json.dumps(results, indent=2))
    for category in todo:
        out = config.out / category.name
        results["categories"][category.name] = one(config, backbone, category, size, out)
        each = list(results["categories"].values())
        for metric in ("image_auroc", "pixel_auroc"):
            if metric in each[0]:
                results["mean"][metric] = float(np.mean([result[metric] for result in each]))
        _write(config.out / "results.json", json.dumps(results, indent=2))
    return results


def table(title: str, paper: PaperFigures, config: Config, results: Results) -> Table:
    """Return our figures beside the paper's, a row a category."""
    view = Table(
        title=f"{title}, {config.backbone}, WT map {config.wt}, {config.velocity}: AUROC in %"
    )
    view.add_column("category")
    for name in ("image", "paper", "pixel", "paper", "loss", "seconds"):
        view.add_column(name, justify="right")
    figures = paper.get(config.wt, {})

    def paper_cell(name: str, column: int) -> str:
        return f"{figures[name][column]:.2f}" if name in figures else "–"

    for name, result in results["categories"].items():
        view.add_row(
            name,
            f"{result['image_auroc']:.2f} ± {result['image_auroc_std']:.2f}",
            paper_cell(name, 0),
            f"{result['pixel_auroc']:.2f} ± {result['pixel_auroc_std']:.2f}",
            paper_cell(name, 1),
            "–" if result["loss"] is None else f"{result['loss']:.3f}",
            f"{sum(result['seconds'].values()):.0f}",
        )
    mean = results["mean"]
    view.add_section()
    view.add_row("mean", f"{mean['image_auroc']:.2f}", "", f"{mean['pixel_auroc']:.2f}")
    view.caption = (
        f"mean ± std over the last evaluated epochs, at most {category_run.LAST}; "
        f"paper: Wide-ResNet-50-2, width 768; written to {config.out / 'results.json'}"
    )
    return view
