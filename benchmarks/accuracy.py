"""How accurate is this library, beside anomalib's models with the same features and metrics?

    python benchmarks/accuracy.py --root mvtec_ad --categories bottle screw \\
        --weights resnet18.safetensors --peer-python peer/bin/python --out runs/accuracy

Every method gets the same pixels (square, bilinear) and the same ResNet-18 weights, with its
default settings. Maps, at the size of the images, and image scores are each method's own; masks are
resized by nearest neighbour. All metrics are ours. A row is a method, a size and a category. Each
row runs in its own process; a finished row is stored and not run again. Prediction takes one image
per call. Our rows omit the threshold of ``wtflow fit``, because the peers set none.

The peers need a separate environment with anomalib 2.7 and safetensors. The batch norms in the
weights file must be folded. Left out: EfficientAD and other models that download weights, and CFA,
which would take hours per category without a GPU.
"""

import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console

from wtflow_jax.support.console import Table, markdown, number, show

OURS: dict[str, dict[str, Any]] = {
    "ours, auto": {"preset": "auto"},
    "ours, fine": {"preset": "fine"},
    "ours, exact field": {"velocity": "exact", "wt": "whiten"},
    "ours, the paper's": {},
}
"""Flags of ``wtflow.configure`` by row; the image size is overridden."""
PEERS = {
    "PatchCore": "patchcore",
    "PatchCore, 1 %": "patchcore-1",
    "PaDiM": "padim",
    "FastFlow": "fastflow",
    "DFM": "dfm",
}
"""Names of rows to names in accuracy_peers.py."""
COLUMNS = {
    "image_auroc": ("image AUROC", 100, 2),
    "pixel_auroc": ("pixel AUROC", 100, 2),
    "pixel_aupro": ("AUPRO", 100, 2),
    "pixel_ap": ("pixel AP", 100, 2),
    "pixel_aupimo": ("AUPIMO", 100, 2),
    "fit_seconds": ("fit, s", 1, 0),
    "milliseconds": ("ms an image", 1, 0),
    "megabytes": ("model, MB", 1, 1),
    "peak_gigabytes": ("peak, GB", 1, 1),
}
"""Entries of a row: heading, factor, digits."""
CLOSE = 1e-4
"""Largest difference between the peers' features and ours, relative to the largest feature."""


@dataclass(frozen=True)
class Settings:
    """What to compare."""

    root: Path
    """Directory of categories in the layout of MVTec AD or MVTec 3D-AD."""
    weights: str
    """File of ResNet-18 weights, batch norms folded."""
    out: Path
    """Directory for the rows and the tables, as Markdown and JSON."""
    categories: tuple[str, ...] = ("bottle",)
    """Categories."""
    sizes: tuple[int, ...] = (256, 512)
    """Heights and widths of the images."""
    methods: tuple[str, ...] = (*OURS, *PEERS)
    """Rows of the tables."""
    peer_python: str = sys.executable
    """Python of the environment that has anomalib."""
    epochs: int = 20
    """Epochs of FastFlow."""
    limit: float = 25.0
    """Time limit of a row in minutes; the table notes rows that exceed it."""
    images: int | None = None
    """Largest number of training and of test images, for a quick trial."""
    worker: tuple[str, ...] = ()
    """Internal: a method of ours and the directory of its images."""


def prepare(settings: Settings, category: str, size: int, place: Path) -> None:
    """Write the images of a category, their labels and masks."""
    from wtflow_jax import data

    found = data.open_category(settings.root, category)
    shape, parts = (size, size), {"train": found.train, "test": found.test}
    if settings.images is not None:
        step = max(1, len(found.test) // settings.images)
        parts = {"train": found.train[: settings.images], "test": found.test[::step]}
    for name, samples in parts.items():
        np.save(place / f"{name}.npy", np.stack([data.read_image(s.path, shape) for s in samples]))
    np.save(place / "labels.npy", np.array([sample.label for sample in parts["test"]], bool))
    np.save(place / "masks.npy", np.stack([data.read_mask(s, shape) for s in parts["test"]]))


def work(settings: Settings) -> dict[str, float]:
    """Fit one of our methods, and write scores and maps of the test images."""
    import jax.numpy as jnp

    import wtflow_jax as wtflow
    from wtflow_jax import backbones
    from wtflow_jax.backbones import features
    from wtflow_jax.data import pose, turning
    from wtflow_jax.data.light import factors, lit
    from wtflow_jax.detector import detector, model, route

    name, place = settings.worker[0], Path(settings.worker[1])
    train, test = (np.load(place / f"{part}.npy") for part in ("train", "test"))
    size: tuple[int, int] = train.shape[1:3]
    flags: dict[str, Any] = OURS[name] | {"backbone": "resnet18"}
    flags["image_size"] = f"{size[0]}x{size[1]}"
    config = wtflow.configure(**flags)
    layer = config.features.layer
    backbone = backbones.load("resnet18", layer=layer, weights=settings.weights, cache=place)
    start = time.perf_counter()
    lie = turning.evidence(train) if config.features.pose == "auto" else None
    shift = lie.shift if lie and lie.use else None
    if shift is not None:
        train = np.stack([pose.straighten(one, pose.estimate(one, shift)) for one in train])
    pairs = zip(train, factors(len(train), config.features.jitter).tolist(), strict=True)
    train = np.stack([lit(image, factor) for image, factor in pairs])
    maps = features.compute(backbone, train, config.features.dense)
    fitted = detector.fit(config, jnp.asarray(maps))
    seconds = time.perf_counter() - start
    score = route.scorer(backbone, fitted, size, 1)
    score(test[:1])
    each, scores = [], []
    found = np.lib.format.open_memmap(place / "maps.npy", "w+", np.float32, test.shape[:3])
    for i, image in enumerate(test):
        start = time.perf_counter()
        if shift is None:
            one = score(image[None])
            found[i] = one.maps[0]
        else:
            lies = pose.estimate(image, shift)
            one = score(pose.straighten(image, lies)[None])
            found[i] = pose.back(one.maps[0], lies)
        each.append(time.perf_counter() - start)
        scores.append(one.scores[0])
    np.save(place / "scores.npy", np.array(scores, np.float32))
    arrays = {"backbone": backbone.params, "params": fitted.params, "stats": fitted.stats}
    return {
        "fit_seconds": seconds,
        "milliseconds": 1e3 * float(np.median(each)),
        "megabytes": sum(part.nbytes for part in model.flatten(arrays).values()) / 1e6,
        "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def run(settings: Settings, method: str, place: Path, log: Path) -> dict[str, Any]:
    """Run a row's process and compute metrics of its scores and maps."""
    from wtflow_jax import metrics

    command = in_peer(settings, PEERS[method], place) if method in PEERS else []
    if not command:
        own = ["--root", str(settings.root), "--weights", settings.weights]
        own += ["--out", str(settings.out), "--worker", method, str(place)]
        command = [sys.executable, __file__, *own]
    with log.open("w") as output:
        try:
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                check=True,
                timeout=60 * settings.limit,
            )
        except subprocess.TimeoutExpired:
            return {"why": f"not done after {settings.limit:g} minutes"}
        output.write(done.stdout)
    row = json.loads(done.stdout.splitlines()[-1])
    labels, masks = np.load(place / "labels.npy"), np.load(place / "masks.npy")
    row |= metrics.measure("image", np.load(place / "scores.npy"), labels)
    return row | metrics.measure("pixel", np.load(place / "maps.npy"), masks)


def in_peer(settings: Settings, name: str, place: Path) -> list[str]:
    script = str(Path(__file__).with_name("accuracy_peers.py"))
    return [settings.peer_python, script, name, str(place), settings.weights, str(settings.epochs)]


def check(settings: Settings, place: Path) -> float:
    """Return the peers' largest difference from our features, relative to a layer's largest."""
    from wtflow_jax import backbones
    from wtflow_jax.backbones import network

    subprocess.run(in_peer(settings, "features", place), check=True, stderr=subprocess.DEVNULL)
    theirs = np.load(place / "features.npz")
    layers = tuple(theirs)
    backbone = backbones.load("resnet18", layer=layers, weights=settings.weights, cache=place)
    images = network.normalise(np.load(place / "test.npy")[:4])
    ours = [np.moveaxis(np.asarray(x), -1, 1) for x in backbone.apply(backbone.params, images)]
    pairs = [(x, theirs[name]) for x, name in zip(ours, layers, strict=True)]
    return max(float(np.abs(x - y).max() / np.abs(y).max()) for x, y in pairs)


def main(settings: Settings) -> None:
    """Run the missing rows, and print the tables."""
    if settings.worker:
        print(json.dumps(work(settings)))
        return
    settings.out.mkdir(parents=True, exist_ok=True)
    checked = False
    for size in settings.sizes:
        for category in settings.categories:
            files = {
                m: settings.out / f"{size}-{category}-{slug(m)}.json" for m in settings.methods
            }
            missing = {method: file for method, file in files.items() if not file.exists()}
            if not missing:
                continue
            with tempfile.TemporaryDirectory() as directory:
                place = Path(directory)
                prepare(settings, category, size, place)
                if not checked and missing.keys() & PEERS.keys():
                    apart = check(settings, place)
                    print(f"features differ by {apart:.1e} of the largest", flush=True)
                    if not apart < CLOSE:
                        raise SystemExit("error: the peers' weights differ from ours")
                    checked = True
                for method, file in missing.items():
                    start = time.perf_counter()
                    row = {"method": method, "size": size, "category": category}
                    row |= run(settings, method, place, file.with_suffix(".log"))
                    file.write_text(json.dumps(row, indent=1))
                    seconds = time.perf_counter() - start
                    print(f"{size}, {category}, {method}: {seconds:.0f} s", flush=True)
    rows = [json.loads(path.read_text()) for path in sorted(settings.out.glob("*-*-*.json"))]
    shown = tables(rows)
    for table in shown:
        show(table, Console())
    (settings.out / "rows.json").write_text(json.dumps(rows, indent=1))
    (settings.out / "tables.md").write_text("\n".join(map(markdown, shown)))


def slug(method: str) -> str:
    """Return a method's name for use in file names."""
    return re.sub(r"[^a-z0-9]+", "-", method.lower())


def tables(rows: list[dict[str, Any]]) -> list[Table]:
    """Return one table per size and category, and one per size with means over categories."""
    found = []
    for size in sorted({row["size"] for row in rows}):
        of_size = [row for row in rows if row["size"] == size]
        names = sorted({row["category"] for row in of_size})
        parts = {name: [row for row in of_size if row["category"] == name] for name in names}
        if len(names) > 1:
            parts["mean of " + ", ".join(names)] = means(of_size, len(names))
        found += [table(f"{size}², {name}", part) for name, part in parts.items()]
    return found


def means(rows: list[dict[str, Any]], categories: int) -> list[dict[str, Any]]:
    """Return a row for each method that has figures for all categories."""
    found = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        if len(own) == categories and not any("why" in row for row in own):
            values = {name: [row[name] for row in own] for name in COLUMNS}
            mean = {k: None if None in v else float(np.mean(v)) for k, v in values.items()}
            found.append({"method": method, **mean})
    return found


def table(title: str, rows: list[dict[str, Any]]) -> Table:
    """Return a table of rows, in the order of the methods."""
    order = [*OURS, *PEERS]
    rows = sorted(rows, key=lambda row: order.index(row["method"]))
    body = [
        [row["method"]]
        + [
            number(None if (value := row.get(name)) is None else factor * value, None, digits)
            for name, (_, factor, digits) in COLUMNS.items()
        ]
        for row in rows
    ]
    notes = [f"{row['method']}: {row['why']}." for row in rows if "why" in row]
    notes += [
        f"{row['method']}: fit time extrapolated from anomalib's own steps; here {here:.0f} s."
        for row in rows
        if (here := row.get("fit_seconds_here"))
    ]
    return Table(title, ["", *(heading for heading, _, _ in COLUMNS.values())], body, notes)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
