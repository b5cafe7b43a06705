"""What all experiments share: flags, the loop over categories, files and the closing table."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
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
Run = Callable[[category_run.Job], Results]
"""One category: ``run(job) -> its entry``."""


def parse(arguments: Sequence[str], description: str, given: Config = Config()) -> Config:  # noqa: B008
    """Read flags on top of the defaults of the preset they name.

    Args:
        arguments: the flags.
        description: what ``--help`` says.
        given: the experiment's own defaults of ``out``, ``wt`` and ``velocity``.
    """

    def read(default: Config) -> Config:
        return tyro.cli(Config, args=list(arguments), default=default, description=description)

    return read(replace(defaults(read(given)), out=given.out))


def main(
    arguments: Sequence[str],
    *,
    name: str,
    description: str,
    show: Callable[[Config, Results], RenderableType],
    one: Run = category_run.run,
    given: Config = Config(),  # noqa: B008
) -> int:
    """Run an experiment from the command line and return its exit status.

    Args:
        arguments: the flags.
        name: of the experiment; results go to ``runs/NAME`` unless ``--out`` says otherwise.
        description: what ``--help`` says of it.
        show: the closing table, of the config and the contents of ``results.json``.
        one: what is done with a category.
        given: the experiment's own defaults of ``wt`` and ``velocity``.
    """
    try:
        config = parse(arguments, description, replace(given, out=Path("runs") / name))
        results = run(config, name, one)
    except WTFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read the output has enough of it; nothing is left to be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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


def _open_out(config: Config, name: str) -> Results:
    """Return the results so far: those of the run to resume, or empty ones."""
    path = config.out / "results.json"
    as_json = json.loads(json.dumps(asdict(config), default=str))
    if config.out.exists() and not config.out.is_dir():
        raise WTFlowError(f"{config.out}: is a file; give a directory as --out")
    fresh = {
        "experiment": name,
        "config": as_json,
        "environment": None,
        "categories": {},
        "mean": {},
    }
    # Empty directories are what a run leaves that ended before its first checkpoint.
    files = (file for file in config.out.rglob("*") if file.is_file())
    found = {file.relative_to(config.out).parts[0] for file in files}
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
        writer = results["experiment"]
        finished = set(results["categories"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WTFlowError(f"{path}: is no results file; give another --out") from error
    if not config.resume:
        # A run that ended before its first category, of a bad image for instance.
        if not finished:
            return fresh
        raise WTFlowError(f"{config.out}: is not empty; give --resume, or another --out")
    if writer != name:
        raise WTFlowError(f"{path}: was written by {writer}.py, not {name}.py; give another --out")
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


def run(config: Config, name: str, one: Run = category_run.run) -> Results:
    """Go through the categories, writing ``results.json`` after each.

    Args:
        config: the run's.
        name: of the experiment; another's results are not gone on with.
        one: what is done with a category.

    Returns:
        The contents of ``results.json``.

    Raises:
        WTFlowError: bad input, in one line.
    """
    config.check()
    size = datasets.parse_size(config.image_size)
    results = _open_out(config, name)
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
        job = category_run.Job(config, backbone, category, size, config.out / category.name)
        results["categories"][category.name] = one(job)
        each = list(results["categories"].values())
        for metric in ("image_auroc", "pixel_auroc"):
            if metric in each[0]:
                results["mean"][metric] = float(np.mean([result[metric] for result in each]))
        _write(config.out / "results.json", json.dumps(results, indent=2))
    return results


def table(paper: PaperFigures, config: Config, results: Results) -> Table:
    """Return our figures beside the paper's, a row a category."""
    view = Table(title=f"AUROC in %: {config.backbone}, WT map {config.wt}, {config.velocity}")
    view.add_column("category")
    for name in ("image", "paper", "pixel", "paper", "loss", "seconds"):
        view.add_column(name, justify="right")
    figures = paper.get(config.wt, {})

    def paper_cell(name: str, column: int) -> str:
        return f"{figures[name][column]:.2f}" if name in figures else "–"

    def ours(result: Results, metric: str) -> str:
        spread = f" ± {result[f'{metric}_std']:.2f}" if config.velocity != "exact" else ""
        return f"{result[metric]:.2f}{spread}"

    for name, result in results["categories"].items():
        view.add_row(
            name,
            ours(result, "image_auroc"),
            paper_cell(name, 0),
            ours(result, "pixel_auroc"),
            paper_cell(name, 1),
            "–" if result["loss"] is None else f"{result['loss']:.3f}",
            f"{sum(result['seconds'].values()):.0f}",
        )
    mean = results["mean"]
    view.add_section()
    view.add_row("mean", f"{mean['image_auroc']:.2f}", "", f"{mean['pixel_auroc']:.2f}")
    ours_is = f"mean ± std over the last evaluated epochs, at most {category_run.LAST}"
    view.caption = (
        f"{'nothing is trained' if config.velocity == 'exact' else ours_is}; "
        f"paper: Wide-ResNet-50-2, width 768; written to {config.out / 'results.json'}"
    )
    return view
